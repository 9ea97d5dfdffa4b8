"""The forward process of flow matching: draws, levels, weights, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler, Krea2Pipeline
from diffusers.training_utils import (
    compute_density_for_timestep_sampling,
    compute_loss_weighting_for_sd3,
)

from memshield.config.file import make_config, read_yaml
from memshield.config.shipped import APP_ROOT
from memshield.errors import UserError
from memshield.families import load, read_facts, resolve
from memshield.families.base import Placement
from memshield.families.flow_facts import is_distilled
from memshield.families.flow_matching import FlowProcess, density_of_slots
from memshield.families.repository import Repository
from tests.families import loaded, looked_up
from tests.tiny_flow import flux2_klein_pipeline, flux_pipeline, krea2_pipeline

SCHEMES = ["none", "logit_normal", "mode", "sigma_sqrt", "cosmap"]
CLEAN = torch.randn(4096, 1, generator=torch.Generator().manual_seed(1))


def process(shift: float = 3.0, preconditioned: bool = False, **settings: Any) -> FlowProcess:
    config = make_config(settings, without=["model", "dataset"])
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    return FlowProcess(scheduler, config, preconditioned)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_draws_are_those_of_diffusers(scheme: str) -> None:
    found = process(weighting_scheme=scheme, logit_mean=0.3, logit_std=0.7, mode_scale=0.9)
    draw = found.draw(CLEAN, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(CLEAN.shape, generator=generator)
    u = compute_density_for_timestep_sampling(
        scheme, len(CLEAN), logit_mean=0.3, logit_std=0.7, mode_scale=0.9, generator=generator
    )
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    sigmas = scheduler.sigmas[(u * 1000).long()]
    assert torch.equal(draw.noise, noise)
    assert torch.equal(found.sigmas[draw.level], sigmas)
    assert torch.equal(found.timesteps[draw.level], scheduler.timesteps[(u * 1000).long()])
    noisy = found.noised(draw.clean, draw.noise, draw.level)
    assert torch.equal(noisy, (1 - sigmas[:, None]) * CLEAN + sigmas[:, None] * noise)
    loss = found.loss(torch.zeros_like(CLEAN), draw)
    assert torch.allclose(loss.value, (noise - CLEAN).square()[:, 0])
    assert torch.allclose(loss.weight, compute_loss_weighting_for_sd3(scheme, sigmas))
    # Where they may fall together tells how often a slot is drawn.
    shares = density_of_slots(1000, scheme, 0.3, 0.7, 0.9)
    assert shares[0] == 0 and shares[-1] == 1 and (shares.diff() >= 0).all()
    for slot in (100, 400, 700, 950):
        drawn = float((draw.level < slot).double().mean())
        assert drawn == pytest.approx(float(shares[slot]), abs=0.025)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_biased_draws_keep_their_proportions_on_either_side(scheme: str) -> None:
    found = process(weighting_scheme=scheme, timestep_bias_share=0.25, timestep_bias_level=1.0)
    level = found.draw(CLEAN, torch.Generator().manual_seed(0)).level
    # Noise equals signal at sigma 1 / 2, which a shift of 3 puts at a quarter of the slots.
    below = level < 250
    assert float(below.double().mean()) == pytest.approx(0.25, abs=0.02)
    plain = process(weighting_scheme=scheme).draw(CLEAN, torch.Generator().manual_seed(1)).level
    for mine, theirs in ((level[below], plain[plain < 250]), (level[~below], plain[plain >= 250])):
        spread = float(theirs.double().std()) / len(theirs) ** 0.5
        assert float(mine.double().mean() - theirs.double().mean()) == pytest.approx(
            0, abs=5 * spread
        )
    assert level.min() >= 0 and level.max() <= 999


@pytest.mark.parametrize(("name", "shift"), [("sd35-medium", 3.0), ("z-image", 6.0)])
def test_recipes_of_shifted_schedules_divide_the_draws_as_without_a_shift(
    name: str, shift: float
) -> None:
    recipe = read_yaml(APP_ROOT / "configs" / f"{name}-lora.yaml")
    bias = {key: recipe[key] for key in ("timestep_bias_share", "timestep_bias_level")}
    unshifted = process(1.0, timestep_bias_share=0.8, timestep_bias_level=1.24).levels.bound
    assert process(shift, **bias).levels.bound == pytest.approx(unshifted, abs=1)


def test_levels_are_finite_and_rise_to_noise_alone() -> None:
    found = process()
    levels = found.noise_levels()
    assert levels.isfinite().all() and (levels.diff() > 0).all()
    assert float(levels[249]) == pytest.approx(1.0, abs=0.01)
    assert float(levels[-1] / levels[-2]) == pytest.approx(2, rel=1e-3)
    assert float(found.sigmas[-1]) == 1
    last = torch.full((len(CLEAN),), 999)
    assert torch.equal(found.noised(CLEAN, -CLEAN, last), -CLEAN)


def test_extreme_densities_stay_inside() -> None:
    for mean in (-10.0, 10.0):
        found = process(weighting_scheme="logit_normal", logit_mean=mean, logit_std=10.0)
        level = found.draw(CLEAN, torch.Generator().manual_seed(0)).level
        assert int(level.min()) >= 0 and int(level.max()) <= 999


# What is refused

VAE = {"pretrained_vae_model_name_or_path": "another"}


def changed(base: Path, folder: Path, file: str, **changes: Any) -> Path:
    """A copy with other entries in a JSON file."""
    shutil.copytree(base, folder)
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def refusal(base: Path, data: Path, **settings: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        looked_up(base, data, **settings)
    return caught.value


@pytest.mark.parametrize(
    ("settings", "field", "words"),
    [
        ({"snr_gamma": 5.0}, "snr_gamma", "trained by flow matching, which has no such thing"),
        ({"noise_offset": 0.1}, "noise_offset", "no such thing"),
        ({"prediction_type": "epsilon"}, "prediction_type", "no such thing"),
        ({"guidance_scale": 1.0}, "guidance_scale", "no embedding of the guidance"),
        ({"max_sequence_length": 513}, "max_sequence_length", "more than 512"),
        (VAE, "pretrained_vae_model_name_or_path", "of its own VAE only"),
        ({"resolution": 18}, "resolution", "multiples of 4"),
        ({"resolution": 36}, "resolution", "knows positions up to 32 pixels, got 36"),
        ({"ddpm_num_steps": 500}, "ddpm_num_steps", "(num_train_timesteps 1000)"),
        ({"ddpm_beta_schedule": "scaled_linear"}, "ddpm_beta_schedule", "for a model from scratch"),
        ({"augment_probability": 0.1}, "augment_probability", "pixel models"),
        ({"mode_scale": 1.0}, "mode_scale", "of the weighting scheme mode"),
        ({"logit_mean": 0.5, "weighting_scheme": "none"}, "logit_mean", "scheme logit_normal"),
    ],
)  # fmt: skip
def test_settings_that_it_does_not_have(
    tiny_sd3: Path, captioned: Path, settings: dict[str, Any], field: str, words: str
) -> None:
    error = refusal(tiny_sd3, captioned, **settings)
    assert error.field == field
    assert words in str(error)


def test_settings_of_a_scheme_are_not_ignored(tiny_sd: Path, captioned: Path) -> None:
    assert "of the weighting scheme logit_normal" in str(refusal(tiny_sd, captioned, logit_std=0.5))


@pytest.mark.parametrize("name", ["weighting_scheme", "max_sequence_length", "guidance_scale"])
def test_settings_that_only_it_has(tiny_sd: Path, captioned: Path, name: str) -> None:
    value: Any = {"weighting_scheme": "mode"}.get(name, 4)
    error = refusal(tiny_sd, captioned, **{name: value})
    assert error.field == name
    assert "trained by flow matching" in str(error)


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        ("transformer/config.json", {"_class_name": "Other"}, "the transformer of"),
        ("transformer/config.json", {"in_channels": 9}, "takes 9 channels"),
        ("vae/config.json", {"_class_name": "AutoencoderTiny"}, "and not a AutoencoderKL"),
        ("scheduler/scheduler_config.json", {"_class_name": "DDPMScheduler"}, "the scheduler of"),
        ("model_index.json", {"text_encoder_3": [None, None]}, "has no text_encoder_3"),
    ],
)
def test_other_models_under_its_name(
    tmp_path: Path, tiny_sd3: Path, captioned: Path, file: str, changes: dict[str, Any], words: str
) -> None:
    error = refusal(changed(tiny_sd3, tmp_path / "base", file, **changes), captioned)
    assert error.field == "pretrained_model_name_or_path"
    assert words in str(error)


@pytest.mark.parametrize(
    ("name", "distilled"),
    [
        ("stabilityai/stable-diffusion-3.5-large-turbo", True),
        ("Tongyi-MAI/Z-Image-Turbo", True),
        ("lab/SD3_Lightning_v2", True),
        ("stabilityai/sdxl-turbo", True),
        ("turbo/stable-diffusion-3.5-medium", False),
        ("lab/turbocharged", False),
    ],
)
def test_only_a_name_on_the_hub_tells(name: str, distilled: bool) -> None:
    for folder in (None, Path(name)):
        repository = Repository("model", name, None, folder, {})
        found = is_distilled(repository, {}, "stable_diffusion_3", {})
        assert found == (distilled and folder is None)


def test_a_distilled_model_is_sampled_without_guidance(tiny_sd3: Path, captioned: Path) -> None:
    family = loaded(tiny_sd3, captioned)
    guided = family.sample([1], ["a cat"], 2)
    family.facts = replace(family.facts, distilled=True)
    pipeline = DiffusionPipeline.from_pretrained(tiny_sd3)
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        "a cat", num_inference_steps=2, height=16, width=16, guidance_scale=0.0,
        max_sequence_length=77,
        generator=torch.Generator().manual_seed(1), output_type="np",
    ).images  # fmt: skip
    assert np.abs(guided - expected).max() > 1e-3
    np.testing.assert_allclose(family.sample([1], ["a cat"], 2), expected, atol=1e-5)


def test_a_checkpoint_in_one_file(tmp_path: Path, captioned: Path) -> None:
    folder = tmp_path / "single"
    folder.mkdir()
    (folder / "flux1-dev.safetensors").write_bytes(b"")
    error = refusal(folder, captioned)
    assert "no model_index.json, only weights in one file (flux1-dev.safetensors)" in str(error)
    assert "diffusers version" in str(error)


def test_a_transformer_without_the_layers_of_a_lora(
    tiny_sd3: Path, captioned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memshield.families.lora.targets_of", lambda facts: ["attn.elsewhere"])
    with pytest.raises(UserError, match=r"SD3Transformer2DModel has none of the layers"):
        loaded(tiny_sd3, captioned)


def test_schnell_and_distilled_klein(tmp_path: Path, captioned: Path) -> None:
    schnell = flux_pipeline(tmp_path / "any-name", guidance_embeds=False)
    error = refusal(schnell, captioned, resolution=16)
    assert "distilled to a few steps" in str(error)
    assert "FLUX.1-dev" in str(error)
    error = refusal(flux2_klein_pipeline(tmp_path / "klein", is_distilled=True), captioned)
    assert "FLUX.2-klein-base-4B" in str(error)
    # An audit takes them.
    values = {"pretrained_model_name_or_path": str(schnell), "resolution": 16}
    config = make_config(values, without=["dataset"])
    facts = read_facts(config, to_train=False)
    assert facts.distilled
    family = load(resolve(config, facts), facts, Placement(torch.device("cpu"), torch.float32))
    assert np.isfinite(family.sample([1], ["a cat"], 1)).all()


def test_a_distilled_krea_samples_as_its_own_pipeline(tmp_path: Path, captioned: Path) -> None:
    base = krea2_pipeline(tmp_path / "any-name", is_distilled=True)
    error = refusal(base, captioned, resolution=16)
    assert "distilled to a few steps" in str(error)
    assert "krea/Krea-2-Raw" in str(error)
    values = {"pretrained_model_name_or_path": str(base), "resolution": 16}
    config = make_config(values, without=["dataset"])
    facts = read_facts(config, to_train=False)
    parts = {"scheduler", "vae", "text_encoder", "tokenizer", "transformer"}
    assert set(facts.components) == parts, "settings of the pipeline are none"
    family = load(resolve(config, facts), facts, Placement(torch.device("cpu"), torch.float32))
    pipeline = Krea2Pipeline.from_pretrained(base)
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        "a cat", guidance_scale=0.0, num_inference_steps=2, height=16, width=16,
        generator=torch.Generator().manual_seed(1), output_type="np",
    ).images  # fmt: skip
    np.testing.assert_allclose(family.sample([1], ["a cat"], 2), expected, atol=1e-4)
    # Its shift does not follow the size.
    steps = family.sampling_steps(2)
    torch.testing.assert_close(steps.timesteps, pipeline.scheduler.timesteps)


def test_a_krea_of_other_patches(tmp_path: Path, captioned: Path) -> None:
    base = krea2_pipeline(tmp_path / "base")
    index = json.loads((base / "model_index.json").read_text())
    (base / "model_index.json").write_text(json.dumps({**index, "patch_size": 1}))
    assert "patches of 1 x 1 latents" in str(refusal(base, captioned, resolution=16))


def test_the_guidance_that_a_model_is_told(tiny_flux: Path, captioned: Path) -> None:
    family = loaded(tiny_flux, captioned, resolution=16)
    assert family.config.guidance_scale == 1.0
    told: list[Any] = []
    family.network.register_forward_pre_hook(
        lambda module, args, named: told.append(named["guidance"].tolist()), with_kwargs=True
    )
    encoded = {
        "text": torch.zeros(2, 512, 16), "pooled": torch.zeros(2, 16),
        "moments": torch.zeros(2, 8, 8, 8),
    }  # fmt: skip
    for scale in (1.0, 0.0, 3.5):
        family.config = family.config.model_copy(update={"guidance_scale": scale})
        family.predict(encoded, family.draw(encoded, torch.Generator().manual_seed(0)))
    assert told == [[1.0] * 2, [0.0] * 2, [3.5] * 2]
