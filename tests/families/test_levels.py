"""Which noise levels are drawn: the share below a level, and what a level is in each schedule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr

from memshield.errors import UserError
from memshield.families.diffusion import DiffusionProcess
from memshield.families.levels import LevelDraws, TimestepBias
from memshield.forecast.plan import main as plan
from tests.tiny import ddpm_pipeline, unet_config
from tests.trained_runs import digits, flags, refused

LINEAR: dict[str, Any] = {"beta_schedule": "linear"}
SCALED: dict[str, Any] = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
}
COSINE: dict[str, Any] = {"beta_schedule": "squaredcos_cap_v2"}


def levels(schedule: dict[str, Any]) -> torch.Tensor:
    return DiffusionProcess(DDPMScheduler(**schedule)).noise_levels()


@pytest.mark.parametrize(("schedule", "timestep"), [(LINEAR, 300), (SCALED, 420), (COSINE, 564)])
def test_a_level_is_the_same_noise_in_every_schedule(
    schedule: dict[str, Any], timestep: int
) -> None:
    found = LevelDraws(levels(schedule), TimestepBias(0.1, 1.24))
    assert abs(found.bound - timestep) <= 2
    kept = DDPMScheduler(**schedule).alphas_cumprod[found.bound].item()
    assert ((1 - kept) / kept) ** 0.5 == pytest.approx(1.24, abs=0.01)


def test_noise_levels_rise() -> None:
    for schedule in (LINEAR, SCALED, COSINE):
        assert bool((levels(schedule).diff() > 0).all())


@pytest.mark.parametrize("share", [0.0, 0.1, 0.7, 1.0])
def test_the_share_of_draws(share: float) -> None:
    """A binomial share below the bound, and levels drawn alike on both sides of it."""
    draws = LevelDraws(levels(LINEAR), TimestepBias(share, 1.24))
    bound = draws.bound
    slots = draws.draw(40_000, torch.Generator().manual_seed(0), torch.device("cpu"))
    assert slots.dtype == torch.int64
    assert int(slots.min()) >= 0
    assert int(slots.max()) <= 999
    below = slots[slots < bound]
    assert abs(len(below) / 40_000 - share) < 0.01
    for part, low, high in ((below, 0, bound), (slots[slots >= bound], bound, 1000)):
        if len(part) > 1000:
            counts = torch.histc(part.double(), 10, low, high) / len(part)
            assert float((counts - 0.1).abs().max()) < 0.03


def test_without_a_bias_draws_are_those_of_a_plain_loop() -> None:
    first, second = (torch.Generator().manual_seed(3) for _ in range(2))
    found = LevelDraws(levels(LINEAR)).draw(64, first, torch.device("cpu"))
    assert torch.equal(found, torch.randint(0, 1000, (64,), generator=second))


@pytest.mark.parametrize("level", [0.001, 500.0])
def test_a_level_outside_the_schedule_is_refused(level: float) -> None:
    with pytest.raises(UserError, match=r"timestep_bias_level.*outside"):
        LevelDraws(levels(LINEAR), TimestepBias(0.1, level))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"timestep_bias_share": 1.5}, "timestep_bias_share"),
        ({"timestep_bias_share": -0.1}, "timestep_bias_share"),
        ({"timestep_bias_share": 0.1, "timestep_bias_level": 0}, "timestep_bias_level"),
        ({"timestep_bias_share": 0.1, "timestep_bias_level": 900}, "timestep_bias_level"),
    ],
)
def test_training_refuses_what_cannot_be_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], field: str
) -> None:
    said = refused(capsys, **digits(tmp_path / "run", unet_config(tmp_path), **changes))
    assert field in said


def test_a_level_outside_the_schedule_is_refused_before_weights_are_fetched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipeline without weights is enough to hear of it, from training and from a plan."""
    folder = ddpm_pipeline(tmp_path / "base")  # its hundred steps end at a low level
    config = folder / "scheduler" / "scheduler_config.json"
    values = json.loads(config.read_text()) | {"num_train_timesteps": 100}
    config.write_text(json.dumps(values))
    settings = {
        "pretrained_model_name_or_path": folder,
        "dataset_name": "sklearn:digits",
        "max_train_samples": 60,
        "timestep_bias_share": 0.1,
        "timestep_bias_level": 100.0,
        "output_dir": tmp_path / "run",
    }
    for path in (folder / "unet").glob("*.safetensors"):
        path.write_bytes(b"no weights")
    said = refused(capsys, **settings)
    assert "timestep_bias_level: 100 lies outside this model's noise levels" in said
    with pytest.raises(UserError, match="timestep_bias_level"):
        plan(flags(**settings))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_weights_by_signal_are_numbers_at_noise_alone(prediction: str) -> None:
    """min(snr, gamma) / snr has a limit where a schedule leaves no signal (arXiv 2303.09556)."""
    scheduler = DDPMScheduler(rescale_betas_zero_snr=True, prediction_type=prediction)
    process = DiffusionProcess(scheduler, 5.0, 0.0, None)
    level = torch.arange(1000)
    draw = process.draw(torch.zeros(1000, 1, 1, 1), torch.Generator().manual_seed(0), level)
    weight = process.loss(torch.zeros(1000, 1, 1, 1), draw).weight
    snr = compute_snr(scheduler, level)
    own = snr if prediction == "epsilon" else snr + 1
    assert snr[-1] == 0 and weight.isfinite().all()
    torch.testing.assert_close(weight[:-1], (snr.clamp(max=5.0) / own)[:-1], rtol=1e-6, atol=0)
    assert weight[-1] == (1 if prediction == "epsilon" else 0)
