"""Samples and predictions of a network as it stands: what audits are made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from memshield.families.base import Draw, Encoded, Family, Pictures
from memshield.families.latent import LatentDiffusion
from memshield.training.sample_grid import as_picture, make_grid
from tests.families import loaded
from tests.tiny import ddpm_pipeline, pictures

CAPTIONS = ["a cat", "picture number 1", "a dog"]
KINDS = ["pixels", "tiny_sd", "tiny_sdxl"]


def open_kind(
    request: pytest.FixtureRequest, tmp_path: Path, captioned: Path, kind: str, **settings: Any
) -> Family:
    if kind == "pixels":
        base = ddpm_pipeline(tmp_path / "base", channels=3)
        return loaded(base, captioned, **{"training": "full", **settings})
    return loaded(request.getfixturevalue(kind), captioned, **settings)


def encoded_batch(family: Family) -> Encoded:
    """Three pictures with their captions."""
    side = int(family.config.resolution or 0)
    pixels = torch.from_numpy(np.stack(pictures(3, side)).transpose(0, 3, 1, 2).copy())
    corner = torch.zeros(3, 2, dtype=torch.int64)
    batch = Pictures(pixels, corner + side, corner)
    return family.encode_pictures(batch) | family.encode_captions(CAPTIONS)


# Samples


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_depends_on_its_own_seed_and_prompt(
    request: pytest.FixtureRequest, tmp_path: Path, captioned: Path, kind: str
) -> None:
    family = open_kind(request, tmp_path, captioned, kind)

    def sample(places: Sequence[int]) -> Any:
        prompts = None if kind == "pixels" else [CAPTIONS[i] for i in places]
        return family.sample([5 + i for i in places], prompts, 3)

    together = sample([0, 1, 2])
    side = int(family.config.resolution or 0)
    assert together.shape == (3, side, side, 3)
    assert together.dtype == np.float32
    assert 0 <= together.min() < together.max() <= 1
    assert not np.allclose(together[0], together[1], atol=0.01)
    assert np.allclose(sample([2, 0])[::-1], together[[0, 2]], atol=1e-5)
    for i in range(3):
        assert np.allclose(sample([i])[0], together[i], atol=1e-5)


def test_grey_samples_have_one_channel(tmp_path: Path, captioned: Path) -> None:
    family = loaded(ddpm_pipeline(tmp_path / "base"), captioned)
    samples = family.sample([0], None, 2)
    assert samples.shape == (1, 8, 8, 1)
    assert as_picture(samples[0]).mode == "L"


def test_large_pictures_are_sampled_in_small_batches(
    tmp_path: Path, captioned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = loaded(ddpm_pipeline(tmp_path / "base"), captioned)
    together = family.sample(range(5), None, 2)
    seen: list[int] = []
    family.network.register_forward_pre_hook(lambda _, words: seen.append(len(words[0])))
    monkeypatch.setattr("memshield.families.unconditional._SAMPLED_AT_ONCE", 2 * 8**2)
    assert np.allclose(family.sample(range(5), None, 2), together, atol=1e-5)
    assert seen == [2, 2, 2, 2, 1, 1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_a_broken_network_gives_no_numbers(
    request: pytest.FixtureRequest, tmp_path: Path, captioned: Path, kind: str, broken: float
) -> None:
    """Nor does it give a black picture, which would look like a sample."""
    family = open_kind(request, tmp_path, captioned, kind, num_validation_images=1)
    with torch.no_grad():
        family.network.get_parameter("conv_in.bias")[0] = broken
    assert np.isnan(family.sample([0], ["a cat"], 2)).any()
    family.config = family.config.model_copy(update={"num_inference_steps": 2})
    grid = make_grid(family, family.config, None if kind == "pixels" else ["a cat"])
    assert grid is not None
    assert np.asarray(grid).min() == 0


@pytest.mark.parametrize("kind", ["tiny_sd", "tiny_sdxl"])
def test_an_overflow_of_the_decoder_is_no_white(
    request: pytest.FixtureRequest, tmp_path: Path, captioned: Path, kind: str
) -> None:
    family = open_kind(request, tmp_path, captioned, kind)
    assert isinstance(family, LatentDiffusion)
    with torch.no_grad():
        family.vae.decoder.conv_out.bias.fill_(torch.inf)
    assert np.isnan(family.sample([0], ["a cat"], 2)).all()


def test_pictures_of_samples() -> None:
    values = np.asarray([[[0.0], [0.5], [1.0], [np.nan]]], dtype=np.float32)
    assert np.asarray(as_picture(values)).tolist() == [[0, 128, 255, 0]]
    assert as_picture(np.zeros((2, 3, 3), np.float32)).size == (3, 2)


# Predictions


def plain_schedule(family: Family, level: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and sigma of each level, written out."""
    settings = family.scheduler.config
    if settings.beta_schedule == "linear":
        betas = torch.linspace(settings.beta_start, settings.beta_end, 100, dtype=torch.float64)
    else:
        ends = settings.beta_start**0.5, settings.beta_end**0.5
        betas = torch.linspace(*ends, 100, dtype=torch.float64) ** 2
    kept = torch.cumprod(1 - betas, 0)[level].float()[:, None, None, None]
    return kept.sqrt(), (1 - kept).sqrt()


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("kind", KINDS)
def test_predicted_noise_is_epsilon(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    captioned: Path,
    kind: str,
    prediction_type: str,
) -> None:
    """Written out from the loss: of a v model, what its v says of the noise."""
    settings = {"prediction_type": prediction_type, "training": "full"}
    family = open_kind(request, tmp_path, captioned, kind, **settings)
    family.network.eval()
    encoded, level = encoded_batch(family), torch.tensor([0, 50, 99])
    clean = family.clean(encoded)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    alpha, sigma = plain_schedule(family, level)
    found = family.predict_noise(encoded, alpha * clean + sigma * noise, level)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    error = (found - noise).square().mean(dim=(1, 2, 3))
    with torch.no_grad():
        draw = Draw(clean, noise, level)
        loss = family.loss(family.predict(encoded, draw), draw).value
    if prediction_type == "epsilon":
        assert torch.allclose(error, loss, rtol=1e-4)
    else:
        # v - v_hat = (epsilon - epsilon_hat) / alpha where x_t is known.
        assert torch.allclose(error, loss * alpha.flatten().square(), rtol=1e-3)


def test_noise_is_predicted_in_evaluation_mode(tiny_sd: Path, captioned: Path) -> None:
    family = loaded(tiny_sd, captioned, lora_dropout=0.9)
    with torch.no_grad():
        for parameter in family.trainable().values():
            parameter.add_(0.1)
    encoded = encoded_batch(family)
    noisy, level = family.clean(encoded), torch.tensor([1, 2, 3])
    family.network.train()
    first, second = (family.predict_noise(encoded, noisy, level) for _ in range(2))
    assert torch.equal(first, second)
    assert family.network.training


@pytest.mark.parametrize("kind", KINDS)
def test_precision_is_that_of_training(
    request: pytest.FixtureRequest, tmp_path: Path, captioned: Path, kind: str
) -> None:
    family = open_kind(request, tmp_path, captioned, kind, training="full")
    family.frozen_dtype = torch.bfloat16
    seen: list[torch.dtype] = []
    network: Any = family.network
    conv: nn.Module = network.conv_in
    conv.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    encoded = encoded_batch(family)
    noise = family.predict_noise(encoded, family.clean(encoded), torch.tensor([1, 2, 3]))
    assert noise.dtype == torch.float32
    assert family.network.get_parameter("conv_in.bias").dtype == torch.float32
    assert seen == [torch.bfloat16]


@pytest.mark.parametrize("kind", KINDS)
def test_clean_is_the_mean_of_what_is_drawn(
    request: pytest.FixtureRequest, tmp_path: Path, captioned: Path, kind: str
) -> None:
    family = open_kind(request, tmp_path, captioned, kind)
    encoded = encoded_batch(family)
    clean = family.clean(encoded)
    many = {name: tensor.repeat_interleave(2000, dim=0) for name, tensor in encoded.items()}
    drawn = family.draw(many, torch.Generator().manual_seed(0)).clean
    drawn = drawn.reshape(3, 2000, *drawn.shape[1:])
    deviation = drawn.std(dim=1)
    assert bool((deviation > 0).all()) is (kind != "pixels")
    assert ((drawn.mean(dim=1) - clean).abs() <= 5 * deviation / 2000**0.5 + 1e-6).all()
