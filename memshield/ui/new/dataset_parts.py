"""The parts of a dataset that can be chosen, and which of them is chosen at first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memshield.data.columns import CAPTION_NAMES
from memshield.hub.catalog.dataset_description import DatasetDescription

TRAIN = "train"


@dataclass(frozen=True)
class DatasetPart:
    """A list to choose from.

    Attributes:
        options: names.
        value: chosen at first; None to let training find it.
        offered: whether there is a choice.
    """

    options: tuple[str, ...]
    value: str | None
    offered: bool


def parts_of(dataset: DatasetDescription) -> dict[str, DatasetPart]:
    """List what can be chosen, by field of the form."""
    columns = [(column.name, column.kind) for column in dataset.columns]
    images = picture_columns(dataset)
    texts = [name for name, kind in columns if kind == "text"]
    classes = [name for name, kind in columns if kind == "class label"]
    splits = [split.name for split in dataset.splits]
    split = TRAIN if TRAIN in splits or not splits else splits[0]
    if dataset.used is not None:
        image: str | None = dataset.used.image
        caption, label = dataset.used.caption, dataset.used.label
    else:  # several columns of pictures, or none for certain: propose the first
        image = next(iter(images), None)
        caption = next((name for name in CAPTION_NAMES if name in texts), None)
        label = next(iter(classes), None)
    choice = len(splits) > 1 or split != TRAIN
    return {
        "dataset_config": _part(dataset.configs, dataset.config),
        "split": DatasetPart(tuple(splits), split if choice else None, choice),
        "image_column": _part(images, image, sure=dataset.used is not None),
        "caption_column": _part(texts, caption),
        "label_column": _part(classes, label),
    }


def picture_columns(dataset: DatasetDescription) -> list[str]:
    """List the columns of pictures, or else those that may hold pictures."""
    images = [column.name for column in dataset.columns if column.kind == "image"]
    # Pictures stored as bytes are of kind "other".
    return images or [
        column.name
        for column in dataset.columns
        if column.kind == "other" and ("binary" in column.type or "bytes" in column.type)
    ]


def _part(options: Sequence[str], value: str | None, sure: bool = True) -> DatasetPart:
    """Make a list, offered unless training would certainly use its only option."""
    taken = value in options and sure
    offered = len(options) > 1 or (bool(options) and not taken)
    return DatasetPart(tuple(options), value if value in options and offered else None, offered)
