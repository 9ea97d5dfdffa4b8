"""A preparation: what is found, and which problems end it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memshield.config.file import Config, make_config
from memshield.errors import Problems, UserError, UserErrors
from memshield.forecast.hardware import Machine
from memshield.forecast.problems import find_problems
from memshield.training.prepare import Preparation, prepare
from tests.tiny import unet_config
from tests.trained_runs import digits


def settings(folder: Path, **changes: Any) -> Config:
    values = digits(folder / "run", unet_config(folder / "unet"), **changes)
    return make_config({k: str(v) if isinstance(v, Path) else v for k, v in values.items()})


def refuse(field: str) -> Any:
    def check(preparation: Preparation) -> None:
        raise UserError(field, "is wrong")

    return check


def test_what_is_found(tmp_path: Path) -> None:
    prepared = prepare(settings(tmp_path)).prepared_run()
    assert prepared.config.resolution == prepared.facts.resolution == 8
    assert prepared.config.mixed_precision == "no"
    assert len(prepared.source) == 60
    assert prepared.examples.num_shards == 2
    assert prepared.budget.total == 24


def test_a_problem_ends_it_before_anything_dearer_is_done(tmp_path: Path) -> None:
    def open_pictures(preparation: Preparation) -> None:
        pytest.fail("pictures were opened")

    wrong_model = settings(tmp_path, resolution=9)
    with pytest.raises(UserError, match="multiples of") as refused:
        prepare(wrong_model, checks=[refuse("a")], pictures=open_pictures)
    assert refused.value.field == "resolution"
    with pytest.raises(UserErrors) as both:
        prepare(settings(tmp_path), checks=[refuse("a"), refuse("b")], pictures=open_pictures)
    assert [error.field for error in both.value.errors] == ["a", "b"]


def test_problems_of_the_pictures_come_together(tmp_path: Path) -> None:
    config = settings(tmp_path, num_rounds=13, max_train_samples=20, memorization_budget=0.1)
    with pytest.raises(UserErrors) as refused:
        prepare(config)
    assert [error.field for error in refused.value.errors] == ["num_rounds", "audit_every_rounds"]


def test_all_problems_at_once(tmp_path: Path) -> None:
    config = settings(tmp_path, resolution=9, num_rounds=13)
    preparation = prepare(config, checks=[refuse("a"), refuse("a")], at_once=True)
    fields = [error.field for error in preparation.problems.errors]
    assert fields == ["resolution", "a", "num_rounds"]
    assert (preparation.facts, preparation.budget) == (None, None)
    assert preparation.examples is not None
    with pytest.raises(UserErrors) as refused:
        preparation.prepared_run()
    assert [error.field for error in refused.value.errors] == fields


def test_problems_before_anything_is_downloaded(tmp_path: Path) -> None:
    config = settings(tmp_path, mixed_precision="fp16", num_rounds=13, train_batch_size=40)
    errors = find_problems(
        config,
        facts=None,
        rows=60,
        machine=Machine((), 8 * 2**30, 2),
        token=False,
        downloads=False,
        publishes=False,
    )
    assert [error.field for error in errors] == [
        "mixed_precision",
        "num_rounds",
        "train_batch_size",
    ]


def test_problems_are_kept_and_raised() -> None:
    problems = Problems()
    problems.refuse()
    for error in (UserErrors([UserError("a", "is wrong"), UserError("b", "is wrong")]),
                  UserError("a", "is wrong")):  # fmt: skip
        with problems.keep():
            raise error
    assert [error.field for error in problems.errors] == ["a", "b"]
    with pytest.raises(KeyError), problems.keep():
        raise KeyError
    problems.errors.pop()
    with pytest.raises(UserError, match=r"^a: is wrong$"):
        problems.refuse()
