"""Which part of a dataset is trained on: what there is to choose, and what is chosen at first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memshield.data.source import CAPTION_NAMES
from memshield.hub.catalog.dataset_description import DatasetDescription

TRAIN = "train"


@dataclass(frozen=True)
class Part:
    """A list to choose from.

    Attributes:
        options: names.
        value: the one that is chosen at first; None for what training finds by itself.
        offered: whether there is anything to choose.
    """

    options: tuple[str, ...]
    value: str | None
    offered: bool


def parts_of(one: DatasetDescription) -> dict[str, Part]:
    """What may be chosen of a dataset, by field of the form."""
    columns = [(column.name, column.kind) for column in one.columns]
    images = picture_columns(one)
    texts = [name for name, kind in columns if kind == "text"]
    classes = [name for name, kind in columns if kind == "class label"]
    splits = [split.name for split in one.splits]
    split = TRAIN if TRAIN in splits or not splits else splits[0]
    if one.used is not None:
        image: str | None = one.used.image
        caption, label = one.used.caption, one.used.label
    else:  # several columns of pictures, or none that is sure to be one: the first is proposed
        image = next(iter(images), None)
        caption = next((name for name in CAPTION_NAMES if name in texts), None)
        label = next(iter(classes), None)
    choice = len(splits) > 1 or split != TRAIN
    return {
        "dataset_config": _part(one.configs, one.config),
        "split": Part(tuple(splits), split if choice else None, choice),
        "image_column": _part(images, image, sure=one.used is not None),
        "caption_column": _part(texts, caption),
        "label_column": _part(classes, label),
    }


def picture_columns(one: DatasetDescription) -> list[str]:
    """Columns that may hold pictures; those that surely do where there are any."""
    images = [column.name for column in one.columns if column.kind == "image"]
    # Stored as bytes, pictures are "other".
    return images or [
        column.name
        for column in one.columns
        if column.kind == "other" and ("binary" in column.type or "bytes" in column.type)
    ]


def _part(options: Sequence[str], value: str | None, sure: bool = True) -> Part:
    """A list of which one is taken anyway, if any is and that is sure."""
    taken = value in options and sure
    offered = len(options) > 1 or (bool(options) and not taken)
    return Part(tuple(options), value if value in options and offered else None, offered)
