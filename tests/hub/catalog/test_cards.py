"""What cards say of licences and rows, however they are written."""

from __future__ import annotations

from typing import Any

import pytest

from memshield.hub.catalog.card_splits import declared_rows, declared_splits
from memshield.hub.catalog.license import License, read_license

TRAIN = {"name": "train", "num_bytes": 9, "num_examples": 30}
TEST = {"name": "test", "num_bytes": 9, "num_examples": 4}


@pytest.mark.parametrize(
    ("card", "tags", "expected"),
    [
        ({"license": "mit"}, [], License("mit")),
        ({"license": ["mit", "cc0-1.0"]}, [], License("mit, cc0-1.0")),
        ({}, ["toy", "license:openrail"], License("openrail")),
        ({"license": "mit"}, ["license:openrail"], License("mit")),
        (
            {"license": "other", "license_name": "mine", "license_link": "LICENSE.md"},
            [],
            License("other", "mine", "LICENSE.md"),
        ),
        ({}, ["toy"], None),
        ({}, None, None),
    ],
)
def test_licences(card: dict[str, Any], tags: list[str] | None, expected: License | None) -> None:
    assert read_license(card, tags) == expected


def test_a_licence_in_words() -> None:
    assert str(License("mit")) == "mit"
    assert str(License("other", "mine", "LICENSE.md")) == "mine (LICENSE.md)"


@pytest.mark.parametrize(
    ("entry", "splits", "rows"),
    [
        ({"splits": [TRAIN, TEST]}, {"default": {"train": 30, "test": 4}}, 34),
        ([{"config_name": "a", "splits": [TEST]}, {"config_name": "b", "splits": [TRAIN]}],
         {"a": {"test": 4}, "b": {"train": 30}}, 4),
        ([{"config_name": "a", "splits": [TEST]}, {"config_name": "default", "splits": [TRAIN]}],
         {"a": {"test": 4}, "default": {"train": 30}}, 30),
        (None, {}, None),
        ("text", {}, None),
        ([{"splits": "many"}, 7, {"splits": [{"name": "train"}, "x"]}], {}, None),
    ],
)  # fmt: skip
def test_declared_splits(entry: Any, splits: dict[str, Any], rows: int | None) -> None:
    card = {"dataset_info": entry}
    assert declared_splits(card) == splits
    assert declared_rows(card) == rows
