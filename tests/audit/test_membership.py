"""Scores of membership: what they are, what they depend on, and what they find."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from diffusers import DDIMScheduler

from memshield.audit.membership import Scores, loss_scores, pia_scores, prompt_scores
from memshield.audit.stats.auc import separation
from memshield.config.file import make_config
from memshield.families import latent, load, read_facts, resolve, unconditional
from memshield.families.base import Draw, Encoded, Family, Pictures, Placement
from memshield.randomness import Purpose, torch_seed
from tests.families import loaded
from tests.tiny import ddpm_pipeline, pictures, unet_config

Pixels = npt.NDArray[np.uint8]
Score = Callable[[Family, Pixels, Sequence[str] | None], Scores]

CAPTIONS = ["a cat", "picture number 1", "a dog", "", "a bird", "a cat", "a very long caption", "x"]
KINDS = ["pixels", "tiny_sd", "tiny_sdxl"]
SCORES: dict[str, Score] = {
    "loss": lambda family, shown, captions: loss_scores(family, shown, captions, 3, draws=4),
    "pia": lambda family, shown, captions: pia_scores(family, shown, captions),
    "prompt": lambda family, shown, captions: prompt_scores(family, captions or [], 3, steps=3),
}
CASES = [(kind, name) for kind in KINDS for name in SCORES if (kind, name) != ("pixels", "prompt")]


def open_kind(
    request: pytest.FixtureRequest, tmp_path: Path, captioned: Path, kind: str, **settings: Any
) -> tuple[Family, Pixels, list[str] | None]:
    """A family, eight pictures, and their captions where it takes any."""
    if kind == "pixels":
        base = ddpm_pipeline(tmp_path / "base", channels=3)
        family = loaded(base, captioned, training="full", **settings)
    else:
        family = loaded(request.getfixturevalue(kind), captioned, **settings)
    shown = np.stack(pictures(8, int(family.config.resolution or 0))).transpose(0, 3, 1, 2)
    return family, shown, None if kind == "pixels" else CAPTIONS


def encode(family: Family, shown: Pixels, captions: Sequence[str] | None) -> Encoded:
    """Pictures that were neither scaled nor cropped, with their captions."""
    corner = torch.zeros(len(shown), 2, dtype=torch.int64)
    batch = Pictures(torch.from_numpy(shown.copy()), corner + shown.shape[2], corner)
    return family.encode_pictures(batch) | (family.encode_captions(captions) if captions else {})


# What a score depends on


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_score_depends_on_neither_batch_nor_place(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    captioned: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    name: str,
) -> None:
    family, shown, captions = open_kind(request, tmp_path, captioned, kind)
    score = SCORES[name]
    together = score(family, shown, captions)
    assert together.shape == (8,)
    assert together.dtype == np.float64
    assert np.isfinite(together).all()
    assert len(np.unique(together.round(12))) >= 6
    np.testing.assert_array_equal(score(family, shown, captions), together)
    # Three at once, in another order.
    side = int(family.config.resolution or 0)
    for module in (latent, unconditional):
        monkeypatch.setattr(module, "_SAMPLED_AT_ONCE", 3 * side**2)
    assert family.at_once() == 3
    order = np.random.default_rng(0).permutation(8)
    moved = score(family, shown[order], captions and [captions[i] for i in order.tolist()])
    np.testing.assert_allclose(moved, together[order], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", ["tiny_sd", "tiny_sdxl"])
def test_captions_and_seeds_matter(
    request: pytest.FixtureRequest, tmp_path: Path, captioned: Path, kind: str
) -> None:
    family, shown, captions = open_kind(request, tmp_path, captioned, kind)
    assert captions is not None
    for name, score in SCORES.items():
        right, wrong = score(family, shown, captions), score(family, shown, captions[::-1])
        assert not np.allclose(right, wrong, rtol=1e-3), name
    assert not np.allclose(
        loss_scores(family, shown, captions, 0, 2), loss_scores(family, shown, captions, 1, 2)
    )
    assert not np.allclose(
        prompt_scores(family, captions, 0, steps=2), prompt_scores(family, captions, 1, steps=2)
    )


def test_pictures_are_read_a_batch_at_a_time(
    tmp_path: Path, captioned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = loaded(ddpm_pipeline(tmp_path / "base"), captioned)
    monkeypatch.setattr(unconditional, "_AT_MOST", 4)
    shown = np.stack(pictures(10, 8, 1))[:, None]
    done: list[int] = []
    loss_scores(family, shown, None, 0, 2, done.append)
    pia_scores(family, shown, None, progress=done.append)
    assert done == [4, 8, 10] * 2
    family.network.train()
    loss_scores(family, shown, None, 0, 1)
    assert family.network.training
    assert all(parameter.grad is None for parameter in family.network.parameters())


# What a score is


@pytest.mark.parametrize("kind", KINDS)
def test_loss_scores_by_hand(
    request: pytest.FixtureRequest, tmp_path: Path, captioned: Path, kind: str
) -> None:
    family, shown, captions = open_kind(request, tmp_path, captioned, kind)
    encoded = encode(family, shown, captions)
    clean = family.clean(encoded)
    family.network.eval()
    total = torch.zeros(8)
    # Of 100 timesteps, the middles of four equal parts.
    for j, level in enumerate([12, 37, 62, 87]):
        generator = torch.Generator().manual_seed(torch_seed(3, Purpose.ATTACK, j))
        noise = torch.randn(clean.shape[1:], generator=generator).expand(clean.shape)
        draw = Draw(clean, noise, torch.full((8,), level))
        with torch.no_grad():
            total += family.loss(family.predict(encoded, draw), draw).value
    np.testing.assert_allclose(
        loss_scores(family, shown, captions, 3, draws=4), -total / 4, rtol=1e-5
    )


@pytest.mark.parametrize("kind", KINDS)
def test_pia_scores_by_hand(
    request: pytest.FixtureRequest, tmp_path: Path, captioned: Path, kind: str
) -> None:
    family, shown, captions = open_kind(request, tmp_path, captioned, kind)
    encoded = encode(family, shown, captions)
    clean = family.clean(encoded)
    noise = family.predict_noise(encoded, clean, torch.zeros(8, dtype=torch.int64))
    kept = family.scheduler.alphas_cumprod[20]  # of 100, as 200 of 1,000
    noisy = kept.sqrt() * clean + (1 - kept).sqrt() * noise
    later = family.predict_noise(encoded, noisy, torch.full((8,), 20))
    expected = -(later - noise).double().pow(4).sum(dim=(1, 2, 3))
    np.testing.assert_allclose(pia_scores(family, shown, captions), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "prediction_type"),
    [("tiny_sd", "epsilon"), ("tiny_sd", "v_prediction"), ("tiny_sdxl", "epsilon")],
)
def test_prompt_scores_by_hand(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    captioned: Path,
    kind: str,
    prediction_type: str,
) -> None:
    """DDIM written out (Song et al. 2020, equation 12 without noise)."""
    settings = {"prediction_type": prediction_type, "training": "full"}
    family, _, _ = open_kind(request, tmp_path, captioned, kind, **settings)
    side = int(family.config.resolution or 0)
    blank = np.zeros((1, 3, side, side), np.uint8)
    without, encoded = (encode(family, blank, [text]) for text in ("", "a cat"))
    scheduler: Any = family.sampler()  # type: ignore[attr-defined]
    scheduler.set_timesteps(4)
    generator = torch.Generator().manual_seed(torch_seed(3, Purpose.ATTACK))
    noisy = torch.randn(family.clean(without).shape[1:], generator=generator)[None]
    norms = []
    for timestep in scheduler.timesteps.tolist():
        level = torch.full((1,), timestep)
        free = family.predict_noise(without, noisy, level)
        moved = family.predict_noise(encoded, noisy, level) - free
        norms.append(float(moved.norm()))
        noise = free + 7.5 * moved
        kept = scheduler.alphas_cumprod[timestep]
        before = scheduler.alphas_cumprod[max(0, timestep - 25)]
        clean = (noisy - (1 - kept).sqrt() * noise) / kept.sqrt()
        noisy = before.sqrt() * clean + (1 - before).sqrt() * noise
    found = prompt_scores(family, ["a cat", "", "a dog"], 3, steps=4)
    assert isinstance(scheduler, DDIMScheduler)
    assert found[0] == pytest.approx(np.mean(norms), rel=1e-3)
    assert found[1] == pytest.approx(0, abs=1e-5)
    assert min(found[0], found[2]) > 1e-4


def test_a_prompt_is_scored_on_a_schedule_of_few_levels(
    tiny_sd: Path, captioned: Path, tmp_path: Path
) -> None:
    """With an offset, the first of as many steps as levels lies beyond the schedule."""
    base = tmp_path / "few"
    shutil.copytree(tiny_sd, base)
    path = base / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_train_timesteps": 40}))
    family = loaded(base, captioned)
    assert np.isfinite(prompt_scores(family, ["a cat"], 3, steps=50)).all()
    assert np.isfinite(family.sample([0], ["a cat"], 50)).all()


def test_a_prompt_is_scored_on_a_schedule_that_ends_without_a_signal(
    tiny_sd: Path, captioned: Path, tmp_path: Path
) -> None:
    """As v-prediction models have it (Lin et al., arXiv 2305.08891): epsilon says nothing there."""
    base = tmp_path / "zero"
    shutil.copytree(tiny_sd, base)
    path = base / "scheduler" / "scheduler_config.json"
    zero = {
        "prediction_type": "v_prediction", "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
    }  # fmt: skip
    path.write_text(json.dumps({**json.loads(path.read_text()), **zero}))
    family = loaded(base, captioned)
    sampling = family.sampling_steps(4)
    assert int(sampling.timesteps[0]) == family.num_slots - 1
    # The first step says of epsilon what is left of the signal: nothing.
    assert float(sampling.as_noise(torch.ones(1), sampling.timesteps[0])) < 1e-3
    found = prompt_scores(family, ["a cat", "", "a dog"], 3, steps=4)
    assert np.isfinite(found).all()
    assert found[1] == 0 and min(found[0], found[2]) > 0


# What a score finds


@pytest.fixture(scope="module")
def noises() -> Pixels:
    """Pictures that have nothing in common."""
    return np.random.default_rng(0).integers(0, 256, (316, 1, 8, 8), dtype=np.uint8)


@pytest.fixture(scope="module")
def overfitted(noises: Pixels, tmp_path_factory: pytest.TempPathFactory) -> Family:
    """Trained on the first 16 pictures, 500 times on each."""
    config = make_config(
        {
            "model_config_name_or_path": str(unet_config(tmp_path_factory.mktemp("unet"))),
            "dataset_name": "sklearn:digits",
            "num_shards": 2,
        }
    )
    facts = read_facts(config)
    family = load(resolve(config, facts), facts, Placement(torch.device("cpu"), torch.float32))
    encoded = {"pixels": encode(family, noises[:16], None)["pixels"].repeat(2, 1, 1, 1)}
    steps, generator = 250, torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(family.network.parameters(), lr=1e-2)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    for _ in range(steps):
        draw = family.draw(encoded, generator)
        optimizer.zero_grad()
        family.loss(family.predict(encoded, draw), draw).value.mean().backward()
        optimizer.step()
        falling.step()
    return family


@pytest.mark.parametrize("name", ["loss", "pia"])
def test_members_of_an_overfitted_model_are_told_apart(
    overfitted: Family, noises: Pixels, name: str
) -> None:
    scores = SCORES[name](overfitted, noises, None)
    rng = np.random.default_rng(1)
    found = separation(scores[:16], scores[16:], rng, repeats=300)
    assert found.auc > 0.9
    assert found.auc_interval[0] > 0.8
    # Pictures none of which it was trained on: 0.5 lies in 95 % of intervals.
    holding, unseen = 0, scores[16:]
    for _ in range(30):
        order = rng.permutation(len(unseen))
        low, high = separation(unseen[order[:100]], unseen[order[100:]], rng, 200).auc_interval
        holding += low <= 0.5 <= high
    assert holding >= 24
