"""How a run that stands somewhere is started again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from memshield.config.file import make_config, read_yaml
from memshield.training.start import is_done, pin
from tests.tiny import unet_config
from tests.trained_runs import digits, train

FIRST, LATER = "0" * 40, "1" * 40
OF_A_HUB = {"pretrained_model_name_or_path": "ada/base", "dataset_name": "ada/pictures"}


@pytest.mark.parametrize("name", ["revision", "dataset_revision"])
@pytest.mark.parametrize(
    ("given", "first", "taken"),
    [
        (None, FIRST, FIRST),
        ("main", FIRST, FIRST),  # wherever it stands by now
        (LATER, FIRST, LATER),  # which is refused
        ("main", None, "main"),
        ("main", "main", "main"),
    ],
)
def test_a_branch_stands_where_it_stood_at_first(
    name: str, given: str | None, first: str | None, taken: str | None
) -> None:
    config = make_config({**OF_A_HUB, name: given})
    earlier = make_config({**OF_A_HUB, name: first})
    assert getattr(pin(config, earlier), name) == taken
    assert pin(config, None) == config


def test_a_run_that_a_budget_ended_goes_on_within_another(tmp_path: Path) -> None:
    run = train(**digits(tmp_path / "run", unet_config(tmp_path), max_train_steps=6))
    config = make_config(read_yaml(run.config))
    other = config.model_copy(update={"memorization_budget": 0.5})
    assert is_done(config, run)
    assert is_done(other, run), "all of its rounds are there"
    shutil.rmtree(run.rounds / str(max(run.round_numbers())))
    assert is_done(config, run)
    assert not is_done(other, run)
