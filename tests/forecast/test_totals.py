"""The numbers under the settings are those of a plan of the same pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memshield.config.file import Config, make_config
from memshield.data.requirements import budget_of
from memshield.data.scan import scan
from memshield.data.source import SourceSettings, open_source
from memshield.forecast.totals import numbers
from tests.ui.repos import pictures

UNET = {"model_config_name_or_path": "unet.json", "num_validation_images": 0}


def config(**values: Any) -> Config:
    return make_config({**UNET, "dataset_name": "a/b", **values})


@pytest.mark.parametrize("values", [{}, {"stop_levels": True}, {"watch_fraction": 0.2}])
def test_they_are_those_of_a_plan(tmp_path: Path, values: dict[str, Any]) -> None:
    folder = pictures(tmp_path / "set", range(150), size=6)
    made = make_config(
        {
            **UNET, "train_data_dir": str(folder), "num_shards": 4, "num_rounds": 3,
            "train_batch_size": 8, "num_train_epochs": 5, "duplicate_distance": 0, **values,
        }
    )  # fmt: skip
    found = numbers(made, 150)
    examples = scan(made, open_source(SourceSettings.of(made), token=False)).examples
    budget = budget_of(made, examples)
    assert found.members == len(examples.members())
    assert found.held_out == len(examples.held_out())
    assert found.watched == len(examples.watched())
    assert bool(found.watched) == bool(values)
    assert sorted(found.shards) == sorted(examples.shard_sizes())
    sums = [sum(row) for row in budget.steps]
    assert (found.steps, found.steps_a_round) == (budget.total, (min(sums), max(sums)))
    assert found.epochs == pytest.approx(budget.total * 8 / found.members)


def test_in_words() -> None:
    made = config(num_shards=4, num_rounds=10, memorization_budget=0.1, max_train_samples=1000)
    lines = numbers(made, 5000).lines()
    assert lines[0] == "900 pictures to train on, 100 held out for the audit"
    assert lines[1] == "4 shards of 225 pictures"
    assert lines[2].startswith("563 steps in all (10.0 epochs), 56 to 59 in each of 10 rounds")
    assert lines[3] == "10 audits of 900 generated pictures"
    once = numbers(config(num_shards=1, num_rounds=1, memorization_budget=0.1), 50).lines()
    assert "one shard" in once[1]
    assert once[2].endswith("epochs), in one round")
    assert once[3].startswith("1 audit of")


@pytest.mark.parametrize(
    "rows, values, fields",
    [
        (3, {"num_shards": 4}, {"num_shards"}),
        (1, {"num_shards": 1, "held_out_fraction": 0.9}, {"num_shards"}),
        (40, {"num_shards": 4, "train_batch_size": 16}, {"train_batch_size", "num_rounds"}),
        (400, {"num_rounds": 1000}, {"num_rounds"}),
        (200, {"memorization_budget": 0.1}, {"memorization_budget"}),
        (20, {"num_shards": 1, "audit_every_rounds": 1}, {"audit_every_rounds"}),
        (400, {}, set()),
        (100, {"num_shards": 1, "stop_levels": True, "watch_fraction": 0.1}, {"watch_fraction"}),
    ],
)
def test_problems(rows: int, values: dict[str, Any], fields: set[str]) -> None:
    found = numbers(config(**values), rows)
    named = {error.field for error in found.problems}
    assert named == fields or (fields and fields <= named and named <= fields | {"num_rounds"})
    json.dumps(found.lines())


def test_millions_of_pictures_cost_nothing() -> None:
    assert numbers(config(num_shards=4096), 2_000_000_000).problems == ()
