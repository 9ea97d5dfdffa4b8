"""Settings whose default depends on the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from diffusers import DDIMScheduler, DDPMScheduler

from memshield.config.file import Config
from memshield.errors import UserError
from tests.families import looked_up
from tests.tiny import ddpm_pipeline


@pytest.fixture(params=["tiny_sd", "tiny_sdxl"])
def text_model(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.getfixturevalue(request.param)
    return folder


def test_text_models(text_model: Path, captioned: Path) -> None:
    config, facts = looked_up(text_model, captioned)
    assert config.training == "lora"
    assert config.skip_threshold == 0.8
    assert config.num_validation_images == 4
    assert config.resolution == facts.resolution == 16
    assert facts.vae["latent_channels"] == 4


def test_pixel_models(tmp_path: Path) -> None:
    config, facts = looked_up(ddpm_pipeline(tmp_path / "base", 3), tmp_path)
    assert config.training == "full"
    assert config.skip_threshold == 0.5
    assert config.shard_optimizer == "keep"
    assert facts.vae == {}


@pytest.mark.parametrize(
    ("training", "shards", "setting", "expected"),
    [
        ("lora", 2, None, "reset"),
        ("full", 2, None, "reset"),
        ("full", 2, "keep", "keep"),
        ("lora", 1, None, "keep"),
        ("full", 1, None, "keep"),
        ("lora", 1, "keep", "keep"),
    ],
)
def test_moments_between_rounds(
    text_model: Path, captioned: Path, training: str, shards: int, setting: str, expected: str
) -> None:
    config, _ = looked_up(
        text_model, captioned, training=training, num_shards=shards, shard_optimizer=setting
    )
    assert config.shard_optimizer == expected


def test_moments_of_averaged_loras_cannot_be_kept(text_model: Path, captioned: Path) -> None:
    with pytest.raises(UserError, match="cannot be kept between rounds"):
        looked_up(text_model, captioned, num_shards=2, shard_optimizer="keep")


def test_a_lora_predicts_what_its_base_does(text_model: Path, captioned: Path) -> None:
    """Its base's scheduler is all that whoever loads it has."""
    with pytest.raises(UserError, match="which predicts epsilon, and not v_prediction"):
        looked_up(text_model, captioned, prediction_type="v_prediction")
    looked_up(text_model, captioned, prediction_type="epsilon")
    _, facts = looked_up(text_model, captioned, prediction_type="v_prediction", training="full")
    assert facts.scheduler["prediction_type"] == "v_prediction"


@pytest.mark.parametrize(
    ("name", "own", "others"),
    [
        ("ddpm_num_steps", "num_train_timesteps", (100, 500)),
        ("ddpm_beta_schedule", "beta_schedule", ("linear", "squaredcos_cap_v2")),
    ],
)
def test_a_base_keeps_its_own_schedule(tmp_path: Path, name: str, own: str, others: Any) -> None:
    same, other = others
    base = ddpm_pipeline(tmp_path / "base", 3)
    with pytest.raises(UserError, match=f"keeps its own schedule .{own} {same}") as caught:
        looked_up(base, tmp_path, **{name: other})
    assert caught.value.field == name
    looked_up(base, tmp_path, **{name: same})


# Noise schedules that nothing samples


def rescheduled(folder: Path, **changes: Any) -> Path:
    """A pixel model with other settings of its scheduler."""
    path = ddpm_pipeline(folder) / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def test_every_schedule_of_a_model_from_scratch_can_be_sampled() -> None:
    for name in get_args(Config.model_fields["ddpm_beta_schedule"].annotation):
        betas = DDPMScheduler(beta_schedule=name).betas
        assert DDIMScheduler(beta_schedule=name).betas.equal(betas)


@pytest.mark.parametrize("name", ["sigmoid", "laplace"])
def test_schedules_that_ddim_does_not_know(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"the noise schedule {name}, which DDIM cannot sample"):
        looked_up(rescheduled(tmp_path / "base", beta_schedule=name), tmp_path)
    # Where the betas themselves are given, their name says nothing.
    betas = [0.01] * 100
    looked_up(rescheduled(tmp_path / "other", beta_schedule=name, trained_betas=betas), tmp_path)
