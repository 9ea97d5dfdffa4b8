"""What there is to choose of a dataset."""

from __future__ import annotations

from typing import Any

from memshield.data.columns import Columns
from memshield.hub.catalog.dataset_description import (
    DatasetColumn,
    DatasetDescription,
    DatasetSplit,
)
from memshield.ui.new.dataset import problem_of
from memshield.ui.new.dataset_parts import parts_of, picture_columns

IMAGE = DatasetColumn("image", "image", "Image")
MASK = DatasetColumn("mask", "image", "Image")
TEXT = DatasetColumn("text", "text", "string")
TITLE = DatasetColumn("title", "text", "string")
BYTES = DatasetColumn("data", "other", "binary")
NUMBER = DatasetColumn("number", "other", "int64")


def dataset(**changes: Any) -> DatasetDescription:
    given: dict[str, Any] = {
        "id": "ada/pictures", "sha": "0", "page": "", "configs": ("default",), "config": "default",
        "format": "parquet", "splits": (DatasetSplit("train", 5, 1),), "columns": (IMAGE, TEXT),
        "used": Columns("image", "text", None), "unused": None, "license": None, "gated": False,
        "has_access": True, "private": False, "downloads": 0, "likes": 0,
    }  # fmt: skip
    return DatasetDescription(**{**given, **changes})


def chosen(one: DatasetDescription) -> dict[str, str | None]:
    """What is offered, and chosen at first."""
    return {name: part.value for name, part in parts_of(one).items() if part.offered}


def test_nothing_is_asked_where_there_is_one_of_each() -> None:
    assert chosen(dataset()) == {}


def test_what_training_would_take_is_chosen_at_first() -> None:
    many = dataset(
        configs=("large", "small"), config="large",
        splits=(DatasetSplit("test", 1, 1), DatasetSplit("train", 5, 1)),
        columns=(IMAGE, TEXT, TITLE),
    )  # fmt: skip
    assert chosen(many) == {"dataset_config": "large", "split": "train", "caption_column": "text"}
    assert chosen(dataset(splits=(DatasetSplit("test", 1, 1),))) == {"split": "test"}


def test_where_training_cannot_tell_something_is_proposed() -> None:
    several = dataset(columns=(MASK, IMAGE, TITLE), used=None, unused="several columns")
    assert chosen(several) == {"image_column": "mask", "caption_column": None}
    stored = dataset(columns=(BYTES, NUMBER), used=None, unused="no column of pictures")
    assert chosen(stored) == {"image_column": "data"}


def test_a_dataset_without_pictures_is_told_early() -> None:
    words = dataset(columns=(TEXT, NUMBER), used=None, unused="no column of pictures")
    assert picture_columns(words) == []
    problem = problem_of(words)
    assert problem is not None and "holds no pictures (columns: text, number)" in problem.problem
    assert problem_of(dataset()) is None
    assert problem_of(dataset(columns=(), used=None)) is None, "not known before it is fetched"
