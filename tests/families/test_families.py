"""Every family trains, saves, and is loaded and sampled by stock diffusers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from memshield.config.file import make_config
from memshield.errors import UserError
from memshield.families import read_facts
from tests.families import SHORT, loaded, looked_up, sample
from tests.tiny import ddpm_pipeline, image_folder, sd_components, sd_pipeline, unet_config
from tests.trained_runs import train


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


@pytest.mark.parametrize("family", ["tiny_sd", "tiny_sdxl"])
def test_a_full_save_keeps_the_bases_own_files(
    request: pytest.FixtureRequest, tmp_path: Path, captioned: Path, family: str
) -> None:
    """Saving anew would rename the image processor that older libraries do not know."""
    base: Path = request.getfixturevalue(family)
    run = train(
        pretrained_model_name_or_path=base,
        train_data_dir=captioned,
        training="full",
        output_dir=tmp_path / "run",
        **SHORT,
    )
    for path in base.rglob("*"):
        inside = path.relative_to(base)
        if path.is_file() and inside.parts[0] != "unet":
            assert (run.model / inside).read_bytes() == path.read_bytes(), inside
    first, second = (run.rounds / n / "vae/diffusion_pytorch_model.safetensors" for n in "12")
    assert first.samefile(second), "rounds share what is frozen"
    own = base / "vae/diffusion_pytorch_model.safetensors"
    assert not first.samefile(own), "nothing of ours may be a link into a shared cache"
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
    """It is saved byte for byte too, whatever precision it was used in."""
    vae = tmp_path / "vae"
    components = sd_components()
    components["vae"].post_quant_conv.weight.data.mul_(2)
    components["vae"].save_pretrained(vae)
    run = train(
        pretrained_model_name_or_path=tiny_sd,
        pretrained_vae_model_name_or_path=vae,
        train_data_dir=captioned,
        training="full",
        mixed_precision="bf16",
        output_dir=tmp_path / "run",
        **SHORT,
    )
    for path in vae.iterdir():
        assert (run.model / "vae" / path.name).read_bytes() == path.read_bytes()
    sample(DiffusionPipeline.from_pretrained(run.model), "picture number 1")


def test_a_vae_of_other_latents(tmp_path: Path, tiny_sd: Path, captioned: Path) -> None:
    """Told before the pictures are encoded with it."""
    vae = shutil.copytree(tiny_sd / "vae", tmp_path / "vae")
    settings = json.loads((vae / "config.json").read_text())
    (vae / "config.json").write_text(json.dumps({**settings, "latent_channels": 16}))
    with pytest.raises(UserError, match="latents of 16 channels, and the UNet takes 4") as caught:
        looked_up(tiny_sd, captioned, pretrained_vae_model_name_or_path=str(vae))
    assert caught.value.field == "pretrained_vae_model_name_or_path"


@pytest.mark.parametrize(
    ("variant", "another_vae"), [(None, False), ("fp16", False), ("fp16", True)]
)
def test_other_variants_are_left_behind(
    tmp_path: Path, tiny_sd: Path, captioned: Path, variant: str | None, another_vae: bool
) -> None:
    """Only what is loaded is saved, under plain names, whatever else lies beside it."""
    base = tmp_path / "base"
    shutil.copytree(tiny_sd, base)
    for path in tiny_sd.rglob("*.safetensors"):
        plain = base / path.relative_to(tiny_sd)
        other = plain.with_name(f"{path.stem}.fp16.safetensors")
        used, unused = (other, plain) if variant else (plain, other)
        shutil.copy(path, used)
        unused.write_bytes(b"not to be read")
    (base / "text_encoder/pytorch_model.bin").write_bytes(b"a pickle")
    named: dict[str, Any] = {"variant": variant} if variant else {}
    if another_vae:
        named["pretrained_vae_model_name_or_path"] = tiny_sd / "vae"
    run = train(
        **named,
        pretrained_model_name_or_path=base,
        train_data_dir=captioned,
        training="full",
        output_dir=tmp_path / "run",
        **SHORT,
    )
    there = {p.relative_to(run.model) for p in run.model.rglob("*") if p.is_file()}
    assert there == {p.relative_to(tiny_sd) for p in tiny_sd.rglob("*") if p.is_file()}
    sample(DiffusionPipeline.from_pretrained(run.model), "picture number 1")


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_a_pickled_safety_checker_is_left_out(
    tmp_path: Path, captioned: Path, variant: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A config without weights is what stock diffusers does not load."""
    base = sd_pipeline(tmp_path / "base", has_safety_checker=True)
    named: dict[str, Any] = {}
    checker = base / "safety_checker"
    (checker / "model.safetensors").rename(checker / "pytorch_model.bin")
    if variant:
        named = {"variant": variant}
        for path in base.rglob("*.safetensors"):
            path.rename(path.with_suffix(".fp16.safetensors"))
    with caplog.at_level("WARNING", "memshield"):
        run = train(
            **named,
            pretrained_model_name_or_path=base,
            train_data_dir=captioned,
            training="full",
            output_dir=tmp_path / "run",
            **SHORT,
        )
    assert caplog.text.count("saved without the safety checker") == 1
    for folder in (run.model, run.rounds / "1"):
        assert not (folder / "safety_checker").exists()
        pipeline = DiffusionPipeline.from_pretrained(folder)
        assert pipeline.safety_checker is None
        assert pipeline.config.requires_safety_checker is False
    sample(pipeline, "picture number 1")


def test_a_part_without_the_variant_is_saved_as_it_is(tmp_path: Path, captioned: Path) -> None:
    """As stock diffusers takes such a mixture."""
    base = sd_pipeline(tmp_path / "base", has_safety_checker=True)
    for path in base.rglob("*.safetensors"):
        if path.parent.name != "safety_checker":
            path.rename(path.with_suffix(".fp16.safetensors"))
    run = train(
        variant="fp16",
        pretrained_model_name_or_path=base,
        train_data_dir=captioned,
        training="full",
        output_dir=tmp_path / "run",
        **SHORT,
    )
    saved = run.model / "safety_checker/model.safetensors"
    assert saved.read_bytes() == (base / "safety_checker/model.safetensors").read_bytes()
    pipeline = DiffusionPipeline.from_pretrained(run.model)
    assert type(pipeline.safety_checker).__name__ == "StableDiffusionSafetyChecker"


def test_a_base_of_which_no_whole_pipeline_can_be_saved(tmp_path: Path, captioned: Path) -> None:
    base = sd_pipeline(tmp_path / "base", has_safety_checker=True)
    shutil.rmtree(base / "feature_extractor")
    with pytest.raises(UserError, match="has no feature_extractor that can be saved"):
        looked_up(base, captioned, training="full")
    looked_up(base, captioned, training="lora")
    # An audit saves nothing.
    values = {"pretrained_model_name_or_path": str(base), "training": "full"}
    read_facts(make_config(values, without=["dataset"]), to_train=False)


def test_a_variant_in_several_files_is_saved_with_its_index(
    tmp_path: Path, tiny_sd: Path, captioned: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_sd, base)
    for path in tiny_sd.rglob("*.safetensors"):
        shutil.copy(path, base / path.relative_to(tiny_sd).with_suffix(".fp16.safetensors"))
    encoder = base / "text_encoder"
    for path in encoder.glob("*.safetensors"):
        path.unlink()
    loaded = sd_components()["text_encoder"]
    # The index of the plain weights, which have other parts, lies beside it.
    loaded.save_pretrained(encoder, max_shard_size="12KB")
    loaded.save_pretrained(encoder, max_shard_size="6KB", variant="fp16")
    assert len(list(encoder.glob("*.index*.json"))) == 2
    run = train(
        variant="fp16",
        pretrained_model_name_or_path=base,
        train_data_dir=captioned,
        training="full",
        output_dir=tmp_path / "run",
        **SHORT,
    )
    (index,) = (run.model / "text_encoder").glob("*.index*.json")
    parts = set(json.loads(index.read_text())["weight_map"].values())
    assert len(parts) > 1
    assert parts == {path.name for path in index.parent.glob("*.safetensors")}
    sample(DiffusionPipeline.from_pretrained(run.model), "picture number 1")


def test_alpha_is_folded_into_the_saved_lora(
    tmp_path: Path, tiny_sd: Path, captioned: Path
) -> None:
    family = loaded(tiny_sd, captioned, rank=2, lora_alpha=6.0)
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
    assert inside.shape == (16, 16, 3)


def test_noise_offset_moves_whole_channels(tiny_sd: Path, captioned: Path) -> None:
    plain = loaded(tiny_sd, captioned)
    offset = loaded(tiny_sd, captioned, noise_offset=0.5)
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
