"""Every family trains, saves, and is loaded and sampled by stock diffusers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from safetensors.torch import load_file

from memshield.config import make_config
from memshield.families import load, read_facts, resolve
from memshield.families.base import Family, Placement
from tests.runs import train
from tests.tiny import ddpm_pipeline, image_folder, sd_pipeline, unet_config

SHORT: dict[str, Any] = {
    "num_shards": 2,
    "num_rounds": 2,
    "max_train_steps": 8,
    "train_batch_size": 4,
    "learning_rate": 1e-2,
    "num_validation_images": 2,
    "num_inference_steps": 2,
}


def sample(pipeline: Any, prompt: str | None = None) -> Image.Image:
    pipeline.set_progress_bar_config(disable=True)
    words = {"prompt": prompt} if prompt is not None else {}
    generator = torch.Generator().manual_seed(0)
    (image,) = pipeline(num_inference_steps=2, generator=generator, **words).images
    assert isinstance(image, Image.Image)
    assert np.isfinite(np.asarray(image)).all()
    return image


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["DDPMPipeline", "DDIMPipeline"])
def test_pixel_pipelines(tmp_path: Path, channels: int, kind: str) -> None:
    base = ddpm_pipeline(tmp_path / "base", channels, kind)
    run = train(
        pretrained_model_name_or_path=base,
        train_data_dir=image_folder(tmp_path / "pictures", channels=channels, captions=False),
        output_dir=tmp_path / "run",
        **SHORT,
    )
    pipeline = DiffusionPipeline.from_pretrained(run.model)
    assert type(pipeline) is getattr(diffusers, kind)
    image = sample(pipeline)
    assert image.size == (8, 8)
    before = load_file(base / "unet/diffusion_pytorch_model.safetensors")
    after = load_file(run.model / "unet/diffusion_pytorch_model.safetensors")
    assert any(not torch.equal(after[name], tensor) for name, tensor in before.items())
    assert sorted(p.name for p in run.samples.iterdir()) == ["round-0001.png", "round-0002.png"]


def test_from_scratch_takes_another_resolution(tmp_path: Path) -> None:
    run = train(
        model_config_name_or_path=unet_config(tmp_path),
        dataset_name="sklearn:digits",
        max_train_samples=40,
        resolution=16,
        output_dir=tmp_path / "run",
        **SHORT,
    )
    assert sample(DiffusionPipeline.from_pretrained(run.model)).size == (16, 16)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("training", ["full", "lora"])
def test_stable_diffusion(
    tmp_path: Path, captioned: Path, training: str, prediction_type: str
) -> None:
    base = sd_pipeline(tmp_path / "base", prediction_type)
    run = train(
        pretrained_model_name_or_path=base,
        train_data_dir=captioned,
        training=training,
        noise_offset=0.1,
        proportion_empty_prompts=0.2,
        random_flip=True,
        output_dir=tmp_path / "run",
        **SHORT,
    )
    before = sample(DiffusionPipeline.from_pretrained(base), "picture number 1")
    if training == "lora":
        assert [p.name for p in run.model.iterdir()] == ["pytorch_lora_weights.safetensors"]
        pipeline = DiffusionPipeline.from_pretrained(base)
        pipeline.load_lora_weights(run.model)
    else:
        pipeline = DiffusionPipeline.from_pretrained(run.model)
        assert pipeline.scheduler.config.prediction_type == prediction_type
    after = sample(pipeline, "picture number 1")
    assert after.size == before.size == (16, 16)
    assert np.asarray(after).tolist() != np.asarray(before).tolist()


def test_a_full_save_keeps_the_bases_own_files(
    tmp_path: Path, tiny_sd: Path, captioned: Path
) -> None:
    """Saving anew would rename the image processor that older libraries do not know."""
    run = train(
        pretrained_model_name_or_path=tiny_sd,
        train_data_dir=captioned,
        training="full",
        output_dir=tmp_path / "run",
        **SHORT,
    )
    for path in tiny_sd.rglob("*"):
        inside = path.relative_to(tiny_sd)
        if path.is_file() and inside.parts[0] != "unet":
            assert (run.model / inside).read_bytes() == path.read_bytes(), inside
    first, second = (run.rounds / n / "vae/diffusion_pytorch_model.safetensors" for n in "12")
    assert first.samefile(second), "rounds share what is frozen"
    base = tiny_sd / "vae/diffusion_pytorch_model.safetensors"
    assert not first.samefile(base), "nothing of ours may be a link into a shared cache"
    assert not (run.model / "vae/diffusion_pytorch_model.safetensors").samefile(second)


def test_another_prediction_type_is_saved(tmp_path: Path, tiny_sd: Path, captioned: Path) -> None:
    run = train(
        pretrained_model_name_or_path=tiny_sd,
        train_data_dir=captioned,
        training="full",
        prediction_type="v_prediction",
        output_dir=tmp_path / "run",
        **SHORT,
    )
    saved = json.loads((run.model / "scheduler/scheduler_config.json").read_text())
    assert saved["prediction_type"] == "v_prediction"
    base = json.loads((tiny_sd / "scheduler/scheduler_config.json").read_text())
    assert base["prediction_type"] == "epsilon"


def test_another_vae(tmp_path: Path, tiny_sd: Path, captioned: Path) -> None:
    run = train(
        pretrained_model_name_or_path=tiny_sd,
        pretrained_vae_model_name_or_path=tiny_sd / "vae",
        train_data_dir=captioned,
        training="full",
        output_dir=tmp_path / "run",
        **SHORT,
    )
    sample(DiffusionPipeline.from_pretrained(run.model), "picture number 1")


def test_alpha_is_folded_into_the_saved_lora(
    tmp_path: Path, tiny_sd: Path, captioned: Path
) -> None:
    family = lora_family(tmp_path, tiny_sd, captioned, rank=2, lora_alpha=6.0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in family.trainable().values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    inside = family.sample([0], ["picture number 1"], 2)[0]
    (tmp_path / "saved").mkdir()
    family.save(tmp_path / "saved")
    pipeline = DiffusionPipeline.from_pretrained(tiny_sd)
    pipeline.load_lora_weights(tmp_path / "saved")
    latents = torch.randn(1, 4, 8, 8, generator=generator)
    text = torch.randn(1, 16, 16, generator=generator)
    with torch.no_grad():
        ours = family.network.eval()(latents, 7, text).sample
        theirs = pipeline.unet.eval()(latents, 7, text).sample
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert inside.size == (16, 16)


def lora_family(tmp_path: Path, base: Path, data: Path, **settings: Any) -> Family:
    values = {
        "pretrained_model_name_or_path": str(base),
        "train_data_dir": str(data),
        "training": "lora",
        **settings,
    }
    config = make_config(values)
    facts = read_facts(config)
    return load(resolve(config, facts), facts, Placement(torch.device("cpu"), torch.float32))


def test_noise_offset_moves_whole_channels(tmp_path: Path, tiny_sd: Path, captioned: Path) -> None:
    plain = lora_family(tmp_path, tiny_sd, captioned)
    offset = lora_family(tmp_path, tiny_sd, captioned, noise_offset=0.5)
    encoded = {"moments": torch.zeros(64, 8, 8, 8), "text": torch.zeros(64, 16, 16)}
    means = [
        family.draw(encoded, torch.Generator().manual_seed(0)).noise.mean(dim=(2, 3)).std()
        for family in (plain, offset)
    ]
    # The mean of 64 normals deviates by 1/8; a constant of 0.5 per channel adds in quadrature.
    assert means[0] == pytest.approx(0.125, rel=0.2)
    assert means[1] == pytest.approx((0.125**2 + 0.25) ** 0.5, rel=0.2)


def test_bf16_trains_a_lora(tmp_path: Path, tiny_sd: Path, captioned: Path) -> None:
    run = train(
        pretrained_model_name_or_path=tiny_sd,
        train_data_dir=captioned,
        mixed_precision="bf16",
        gradient_checkpointing=True,
        output_dir=tmp_path / "run",
        **SHORT,
    )
    state = load_file(run.model / "pytorch_lora_weights.safetensors")
    assert all(tensor.dtype == torch.float32 for tensor in state.values())
    pipeline = DiffusionPipeline.from_pretrained(tiny_sd)
    pipeline.load_lora_weights(run.model)
    sample(pipeline, "picture number 1")
