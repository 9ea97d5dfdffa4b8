"""What cards say of licenses and rows, however they are written."""

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
        ({"license": "MIT"}, [], License("mit")),
        ({"license": ["mit"]}, [], License("mit")),
        # The Hub takes none of these in a card any more, but takes their names.
        ({"license": ["mit", "cc0-1.0"]}, [], License("other", "mit, cc0-1.0")),
        ({"license": "my-own"}, [], License("other", "my-own")),
        ({"license": "my-own", "license_name": "mine"}, [], License("other", "mine")),
        ({}, ["license:Our-Terms"], License("other", "Our-Terms")),
        ({}, ["toy", "license:openrail"], License("openrail")),
        ({"license": "mit"}, ["license:openrail"], License("mit")),
        (
            {"license": "other", "license_name": "mine", "license_link": "LICENSE.md"},
            [],
            License("other", "mine", "https://hub/lab/it/blob/main/LICENSE.md"),
        ),
        (
            {"license": "other", "license_name": "mine", "license_link": "https://lab.org/l"},
            [],
            License("other", "mine", "https://lab.org/l"),
        ),
        ({}, ["toy"], None),
        ({}, None, None),
    ],
)
def test_licenses(card: dict[str, Any], tags: list[str] | None, expected: License | None) -> None:
    assert read_license(card, tags, "https://hub/lab/it") == expected


def test_a_file_of_a_folder_is_no_link() -> None:
    card = {"license": "other", "license_name": "mine", "license_link": "LICENSE.md"}
    assert read_license(card, None) == License("other", "mine")


@pytest.mark.parametrize(
    ("license", "expected"),
    [
        (License("other", "flux-1-dev-non-commercial-license"), "no commercial use"),
        (License("cc-by-nc-sa-4.0"), "no commercial use"),
        (License("other", "stabilityai-ai-community"), "below a yearly revenue"),
        (License("other", "mine"), "not one of the usual"),
        (License("apache-2.0"), None),
        (License("creativeml-openrail-m"), None),
        (License("other"), None),
    ],
)
def test_terms_go_by_the_name(license: License, expected: str | None) -> None:
    assert (expected or "") in (license.terms or "")
    assert (license.terms is None) == (expected is None)


def test_a_license_in_words() -> None:
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
