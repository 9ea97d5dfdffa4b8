"""Stable Diffusion XL against the stock pipeline: conditions, loss, samples, saved models."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file

from memshield.__main__ import main
from memshield.errors import UserError
from memshield.families.base import Draw, Encoded, Pictures
from memshield.families.latent import LatentDiffusion
from memshield.families.size import trainable_parameters
from tests.families import SHORT, loaded, looked_up, sample
from tests.tiny import SCHEDULE, image_folder, pictures, sdxl_pipeline
from tests.trained_runs import flags, train, weights

CAPTIONS = ["a cat", "picture number 1", "a caption of more words than there are tokens"]


@pytest.fixture(scope="module")
def stock(tiny_sdxl: Path) -> Any:
    pipeline = StableDiffusionXLPipeline.from_pretrained(tiny_sdxl)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captioned pictures of 26 x 20 px: 21 x 16 when scaled, so that 5 columns are cut off."""
    return image_folder(tmp_path_factory.mktemp("wide"), size=20, width=26)


def some_pictures() -> Pictures:
    pixels = torch.from_numpy(np.stack(pictures(3)).transpose(0, 3, 1, 2).copy())
    return Pictures(
        pixels,
        torch.tensor([[20, 30], [1001, 16], [16, 1003]]),
        torch.tensor([[0, 4], [9, 0], [0, 7]]),
    )


def altered(base: Path, folder: Path, file: str, **changes: Any) -> Path:
    """A copy of a pipeline with some settings of one of its JSON files changed; None drops one."""
    shutil.copytree(base, folder)
    path = folder / file
    settings = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in settings.items() if v is not None}))
    return folder


# Trained, saved, and loaded by stock diffusers


@pytest.mark.parametrize("training", ["full", "lora"])
def test_it_trains_and_stock_diffusers_loads_it(
    tmp_path: Path, tiny_sdxl: Path, captioned: Path, training: str
) -> None:
    run = train(
        pretrained_model_name_or_path=tiny_sdxl,
        train_data_dir=captioned,
        training=training,
        noise_offset=0.1,
        snr_gamma=5.0,
        proportion_empty_prompts=0.2,
        random_flip=True,
        output_dir=tmp_path / "run",
        **SHORT,
    )
    before = sample(DiffusionPipeline.from_pretrained(tiny_sdxl), "picture number 1")
    if training == "lora":
        assert [p.name for p in run.model.iterdir()] == ["pytorch_lora_weights.safetensors"]
        pipeline = DiffusionPipeline.from_pretrained(tiny_sdxl)
        pipeline.load_lora_weights(run.model)
    else:
        pipeline = DiffusionPipeline.from_pretrained(run.model)
        assert type(pipeline) is StableDiffusionXLPipeline
    after = sample(pipeline, "picture number 1")
    assert after.size == before.size == (16, 16)
    assert np.asarray(after).tolist() != np.asarray(before).tolist()
    assert sorted(p.name for p in run.samples.iterdir()) == ["round-0001.png", "round-0002.png"]


@pytest.mark.parametrize("training", ["full", "lora"])
def test_bf16_trains_and_samples(
    tmp_path: Path, tiny_sdxl: Path, captioned: Path, training: str
) -> None:
    run = train(
        pretrained_model_name_or_path=tiny_sdxl,
        train_data_dir=captioned,
        training=training,
        mixed_precision="bf16",
        gradient_checkpointing=True,
        output_dir=tmp_path / "run",
        **{**SHORT, "num_validation_images": 1},
    )
    assert all(
        tensor.dtype == torch.float32 and tensor.isfinite().all()
        for tensor in weights(run).values()
        if tensor.is_floating_point()
    )
    assert len(list(run.samples.iterdir())) == 2


def test_alpha_is_folded_into_the_saved_lora(
    tmp_path: Path, tiny_sdxl: Path, captioned: Path
) -> None:
    family = loaded(tiny_sdxl, captioned, rank=2, lora_alpha=6.0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in family.trainable().values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    (tmp_path / "saved").mkdir()
    family.save(tmp_path / "saved")
    pipeline = DiffusionPipeline.from_pretrained(tiny_sdxl)
    pipeline.load_lora_weights(tmp_path / "saved")
    noisy = torch.randn(3, 4, 8, 8, generator=generator)
    encoded = family.encode_pictures(some_pictures()) | family.encode_captions(CAPTIONS)
    ours, theirs, base = (
        predicted(unet, noisy, torch.tensor([7, 8, 9]), encoded)
        for unet in (family.network, pipeline.unet, loaded(tiny_sdxl, captioned).network)
    )
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert not torch.allclose(ours, base, atol=1e-2)


def predicted(unet: Any, noisy: torch.Tensor, t: torch.Tensor, encoded: Encoded) -> torch.Tensor:
    """What a UNet says with SDXL's conditions, in evaluation mode."""
    with torch.no_grad():
        output: torch.Tensor = unet.eval()(
            noisy,
            t,
            encoder_hidden_states=encoded["text"],
            added_cond_kwargs={"text_embeds": encoded["pooled"], "time_ids": encoded["time_ids"]},
        ).sample
    return output


# Conditions and loss


def test_captions_are_encoded_as_the_pipeline_does(
    tiny_sdxl: Path, captioned: Path, stock: Any
) -> None:
    text, _, pooled, _ = stock.encode_prompt(CAPTIONS, do_classifier_free_guidance=False)
    ours = loaded(tiny_sdxl, captioned).encode_captions(CAPTIONS)
    assert set(ours) == {"text", "pooled"}
    assert ours["text"].shape == (3, 16, 40)
    assert ours["pooled"].shape == (3, 12)
    assert torch.allclose(ours["text"], text, atol=1e-6)
    assert torch.allclose(ours["pooled"], pooled, atol=1e-6)


@pytest.mark.parametrize("zeros", [True, False])
def test_an_empty_caption_is_what_guidance_is_taken_against(
    tmp_path: Path, tiny_sdxl: Path, captioned: Path, zeros: bool
) -> None:
    base = altered(
        tiny_sdxl, tmp_path / "base", "model_index.json", force_zeros_for_empty_prompt=zeros
    )
    pipeline = StableDiffusionXLPipeline.from_pretrained(base)
    _, text, _, pooled = pipeline.encode_prompt(["a cat", "a dog"])
    assert bool(text.any()) is not zeros
    ours = loaded(base, captioned).encode_captions(["", "a cat", ""])
    for kind, expected in (("text", text), ("pooled", pooled)):
        assert torch.allclose(ours[kind][[0, 2]], expected, atol=1e-6)
        assert ours[kind][1].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_time_ids_are_those_of_the_pipeline(
    tiny_sdxl: Path, captioned: Path, stock: Any, dtype: torch.dtype
) -> None:
    """Exact in any precision: bf16 would make 1000 of 1001."""
    shown = some_pictures()
    ours = loaded(tiny_sdxl, captioned, dtype).encode_pictures(shown)["time_ids"]
    assert ours.shape == (3, 6)
    for i in range(3):
        expected = stock._get_add_time_ids(
            tuple(shown.original_size[i].tolist()),
            tuple(shown.crop[i].tolist()),
            (16, 16),
            dtype=torch.float32,
            text_encoder_projection_dim=12,
        )
        assert torch.equal(ours[i : i + 1], expected)


def test_pictures_are_encoded_by_the_pipelines_vae(
    tiny_sdxl: Path, captioned: Path, stock: Any
) -> None:
    shown = some_pictures()
    with torch.no_grad():
        expected = stock.vae.encode(shown.pixels / 127.5 - 1).latent_dist
    # Whatever the precision of the rest.
    family = loaded(tiny_sdxl, captioned, torch.bfloat16)
    encoded = family.encode_pictures(shown)
    assert torch.allclose(encoded["moments"], expected.parameters, atol=1e-5)
    clean = family.draw(encoded, torch.Generator().manual_seed(0)).clean
    drawn = (clean / stock.vae.config.scaling_factor - expected.mean) / expected.std
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(drawn, noise, atol=1e-3)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("training", ["full", "lora"])
def test_the_loss_is_sdxls(
    tmp_path: Path, tiny_sdxl: Path, captioned: Path, stock: Any, training: str,
    prediction_type: str,
) -> None:  # fmt: skip
    """Written out plainly; an untrained LoRA changes nothing."""
    scheduler = "scheduler/scheduler_config.json"
    base = altered(tiny_sdxl, tmp_path / "base", scheduler, prediction_type=prediction_type)
    family = loaded(base, captioned, training=training, snr_gamma=5.0)
    family.network.eval()
    encoded = family.encode_pictures(some_pictures()) | family.encode_captions(CAPTIONS)
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 3, 4, 8, 8, generator=generator)
    draw = Draw(clean, noise, torch.tensor([3, 50, 99]))
    found = family.loss(family.predict(encoded, draw), draw)

    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 100, dtype=torch.float64) ** 2
    kept = torch.cumprod(1 - betas, 0)[draw.level].float()
    alpha, sigma = kept.sqrt()[:, None, None, None], (1 - kept).sqrt()[:, None, None, None]
    error = predicted(stock.unet, alpha * clean + sigma * noise, draw.level, encoded)
    velocity = prediction_type == "v_prediction"
    error = error - (alpha * noise - sigma * clean if velocity else noise)
    assert torch.allclose(found.value, error.square().mean(dim=(1, 2, 3)), rtol=1e-4)
    snr = kept / (1 - kept)
    weight = snr.clamp(max=5) / (snr + 1 if velocity else snr)
    assert torch.allclose(found.weight, weight, rtol=1e-3)
    assert found.slot.tolist() == [3, 50, 99]


@pytest.mark.parametrize("missing", ["pooled", "time_ids"])
def test_every_condition_counts(tiny_sdxl: Path, captioned: Path, missing: str) -> None:
    family = loaded(tiny_sdxl, captioned)
    encoded = family.encode_pictures(some_pictures()) | family.encode_captions(CAPTIONS)
    draw = family.draw(encoded, torch.Generator().manual_seed(0))
    other = {**encoded, missing: encoded[missing] + 1}
    one, two = (family.loss(family.predict(e, draw), draw).value for e in (encoded, other))
    assert not torch.allclose(one, two, rtol=1e-6)


# Sampling


def test_samples_are_those_of_the_stock_pipeline(
    tiny_sdxl: Path, captioned: Path, stock: Any
) -> None:
    family = loaded(tiny_sdxl, captioned)
    family.release_encoders()
    ours = family.sample([5, 6, 7], CAPTIONS, 3)
    scheduler = DDIMScheduler(
        **SCHEDULE, clip_sample=False, set_alpha_to_one=False, timestep_spacing="leading"
    )
    theirs = StableDiffusionXLPipeline(**{**stock.components, "scheduler": scheduler})
    theirs.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed) for seed in (5, 6, 7)]
    for one, other in zip(
        ours, theirs(CAPTIONS, generator=generators, num_inference_steps=3).images, strict=True
    ):
        assert np.abs(one * 255 - np.asarray(other)).max() <= 1
    assert ours[0].std() > 0.01


@pytest.mark.parametrize("kind", ["tiny_sd", "tiny_sdxl"])
def test_a_distilled_model_is_sampled_without_guidance(
    request: pytest.FixtureRequest, captioned: Path, kind: str
) -> None:
    base = request.getfixturevalue(kind)
    family = loaded(base, captioned)
    guided = family.sample([5], CAPTIONS[:1], 3)
    family.facts = replace(family.facts, distilled=True)
    ours = family.sample([5], CAPTIONS[:1], 3)
    pipeline = DiffusionPipeline.from_pretrained(base)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DDIMScheduler(
        **SCHEDULE, clip_sample=False, set_alpha_to_one=False, timestep_spacing="leading"
    )
    theirs = pipeline(
        CAPTIONS[:1], generator=[torch.Generator().manual_seed(5)], num_inference_steps=3,
        guidance_scale=0.0, output_type="np",
    ).images  # fmt: skip
    assert np.abs(guided - ours).max() > 1e-3
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_large_pictures_are_sampled_in_small_batches(
    tiny_sdxl: Path, captioned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = loaded(tiny_sdxl, captioned)
    whole = family.sample([1, 2, 3], CAPTIONS, 2)
    batches: list[int] = []
    family.network.register_forward_pre_hook(lambda module, args: batches.append(len(args[0])))
    monkeypatch.setattr("memshield.families.latent._SAMPLED_AT_ONCE", 2 * 16**2)
    parts = family.sample([1, 2, 3], CAPTIONS, 2)
    assert batches == [4, 4, 2, 2], "guidance doubles a batch"
    assert np.allclose(whole, parts, atol=1e-4)


def test_the_vae_stays_in_float32(tmp_path: Path, tiny_sdxl: Path, captioned: Path) -> None:
    own = loaded(tiny_sdxl, captioned, torch.bfloat16)
    named = loaded(
        tiny_sdxl,
        captioned,
        torch.bfloat16,
        pretrained_vae_model_name_or_path=str(tiny_sdxl / "vae"),
    )
    for family, dtype in ((own, torch.float32), (named, torch.bfloat16)):
        assert isinstance(family, LatentDiffusion)
        assert family.vae.dtype == dtype
        decoded: list[torch.dtype] = []
        # Autocast would lower a float32 decoder's convolutions.
        family.vae.decoder.conv_in.register_forward_hook(
            lambda module, args, output, decoded=decoded: decoded.append(output.dtype)
        )
        assert len(family.sample([0], ["a cat"], 2)) == 1
        assert decoded == [dtype]
        assert next(family.network.parameters()).dtype == torch.bfloat16


# Cached encodings, plan


def test_cached_and_live_encodings_train_the_same(
    tmp_path: Path, tiny_sdxl: Path, wide: Path
) -> None:
    """Two columns are cut off on the left and three on the right: mirrored, three and two."""
    runs = [
        train(
            pretrained_model_name_or_path=tiny_sdxl,
            train_data_dir=wide,
            training="full",
            center_crop=True,
            random_flip=True,
            proportion_empty_prompts=0.2,
            cache_latents=cached,
            output_dir=tmp_path / str(cached),
            **{**SHORT, "learning_rate": 1e-4, "num_validation_images": 0},
        )
        for cached in (True, False)
    ]
    one, other = (weights(run) for run in runs)
    for name, tensor in one.items():
        assert torch.allclose(tensor, other[name], atol=1e-5), name


@pytest.mark.parametrize("training", ["full", "lora"])
def test_the_plan_knows_its_sizes(
    tmp_path: Path,
    tiny_sdxl: Path,
    captioned: Path,
    training: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings: dict[str, Any] = {
        "pretrained_model_name_or_path": tiny_sdxl,
        "train_data_dir": captioned,
        "training": training,
        "random_flip": True,
        "output_dir": tmp_path / "run",
        **SHORT,
    }
    capsys.readouterr()
    assert main(["plan", *flags(**settings), "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)["disk_bytes"]
    run = train(**settings)
    cache = Path(os.environ["MEMSHIELD_CACHE"])
    assert planned["encodings"] == sum(map(tensor_bytes, cache.rglob("*.safetensors")))
    files = [p for f in (run.rounds, run.model) for p in f.rglob("*.safetensors")]
    distinct = {p.stat().st_ino: tensor_bytes(p) for p in files}
    # Names and shapes of the tensors are not counted in a file that is written anew.
    assert sum(distinct.values()) == pytest.approx(planned["rounds"], rel=0.05)
    config, facts = looked_up(tiny_sdxl, captioned, training=training)
    held = loaded(tiny_sdxl, captioned, training=training).trainable().values()
    assert trainable_parameters(config, facts) == sum(p.numel() for p in held)


def tensor_bytes(file: Path) -> int:
    return sum(tensor.nbytes for tensor in load_file(file).values())


# What is refused


def refusal(base: Path, data: Path, **settings: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        looked_up(base, data, **settings)
    return caught.value


@pytest.mark.parametrize("said", [True, None])
def test_an_unsafe_vae_in_fp16(
    tmp_path: Path, tiny_sdxl: Path, captioned: Path, said: bool | None
) -> None:
    base = altered(tiny_sdxl, tmp_path / "base", "vae/config.json", force_upcast=said)
    error = refusal(base, captioned, mixed_precision="fp16")
    assert error.field == "mixed_precision"
    assert f"the VAE of {base} overflows in fp16" in str(error)
    assert "madebyollin/sdxl-vae-fp16-fix" in str(error)
    looked_up(base, captioned, mixed_precision="bf16")
    replaced = {"pretrained_vae_model_name_or_path": str(base / "vae"), "mixed_precision": "fp16"}
    assert f"the VAE of {base / 'vae'} overflows" in str(refusal(base, captioned, **replaced))


def test_a_safe_vae_in_fp16(tmp_path: Path, tiny_sdxl: Path, captioned: Path) -> None:
    safe = sdxl_pipeline(tmp_path / "safe", force_upcast=False)
    looked_up(safe, captioned, mixed_precision="fp16")
    named = {"pretrained_vae_model_name_or_path": str(safe / "vae")}
    _, facts = looked_up(tiny_sdxl, captioned, mixed_precision="fp16", **named)
    assert facts.vae["force_upcast"] is False
    family = loaded(tiny_sdxl, captioned, torch.float16, mixed_precision="fp16", **named)
    assert family.encode_pictures(some_pictures())["moments"].dtype == torch.float16


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        (
            "model_index.json",
            {"text_encoder": [None, None]},
            "has no text_encoder: it is a refiner",
        ),
        ("model_index.json", {"text_encoder_2": None}, "has no text_encoder_2"),
        ("model_index.json", {"requires_aesthetics_score": True}, "aesthetic scores"),
        (
            "model_index.json",
            {"_class_name": "StableDiffusionXLImg2ImgPipeline"},
            "is a StableDiffusionXLImg2ImgPipeline, which is not supported",
        ),
        ("unet/config.json", {"in_channels": 9}, "takes 9 channels"),
        (
            "scheduler/scheduler_config.json",
            {"_class_name": "EDMDPMSolverMultistepScheduler"},
            "trained in another way (EDMDPMSolverMultistepScheduler",
        ),
        ("scheduler/scheduler_config.json", {"prediction_type": "sample"}, "predicts sample"),
        ("vae/config.json", {"latents_mean": [0, 0, 0, 0]}, "centres its latents"),
        ("vae/config.json", {"_class_name": "AutoencoderTiny"}, "is an AutoencoderTiny"),
    ],
)
def test_other_models_under_its_name(
    tmp_path: Path,
    tiny_sdxl: Path,
    captioned: Path,
    file: str,
    changes: dict[str, Any],
    words: str,
) -> None:
    base = altered(tiny_sdxl, tmp_path / "base", file, **changes)
    error = refusal(base, captioned)
    assert error.field == "pretrained_model_name_or_path"
    assert words in str(error)


@pytest.mark.parametrize("encoder", ["text_encoder", "text_encoder_2"])
def test_pickled_text_encoders(
    tmp_path: Path, tiny_sdxl: Path, captioned: Path, encoder: str
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_sdxl, base)
    (base / encoder / "model.safetensors").rename(base / encoder / "pytorch_model.bin")
    error = refusal(base, captioned)
    assert f"{base}/{encoder} has no safetensors weights, only pickled ones" in str(error)


def test_a_pickled_replacement_vae(tmp_path: Path, tiny_sdxl: Path, captioned: Path) -> None:
    vae = tmp_path / "vae"
    shutil.copytree(tiny_sdxl / "vae", vae)
    weights_file = vae / "diffusion_pytorch_model.safetensors"
    weights_file.rename(weights_file.with_suffix(".bin"))
    error = refusal(tiny_sdxl, captioned, pretrained_vae_model_name_or_path=str(vae))
    assert error.field == "pretrained_vae_model_name_or_path"
    assert f"{vae} has no safetensors weights" in str(error)
