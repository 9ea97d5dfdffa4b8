"""The columns of a dataset that hold the pictures, the captions and the labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from memshield.errors import UserError

CAPTIONS_IN_JSON = ("text", "caption", "captions", "prompt", "description")
CAPTION_NAMES = (*CAPTIONS_IN_JSON, "txt", *(f"json.{name}" for name in CAPTIONS_IN_JSON))
LABEL_NAMES = ("label", "labels", "class", "fine_label", "category", "cls")
IMAGE_NAMES = ("image", "img", "picture", "pixel_values", "jpg", "jpeg", "png", "webp")
_SOUNDS_LIKE_A_NAME = ("image", "img", "picture", "photo", "url", "uri", "link", "path", "file")
NAMES_ONLY = (
    "No path or address in a table is followed. Put the picture files into a folder with a "
    "metadata.csv (file_name, text) and give it as train_data_dir, or embed them: "
    "dataset.cast_column({column!r}, datasets.Image()), then save or push it again."
)
"""The way out for a dataset that names its pictures instead of holding them."""


@dataclass(frozen=True)
class Columns:
    """Names of the columns used; None where the dataset has no such column."""

    image: str
    caption: str | None
    label: str | None


def choose_columns(
    features: Mapping[str, Any],
    image: str | None = None,
    caption: str | None = None,
    label: str | None = None,
) -> Columns:
    """The columns named, or else those that types and usual names point to.

    Args:
        features: type of every column, as the datasets library has it.
        image, caption, label: names that were given; None for those that were not.

    Raises:
        UserError: a named column is missing or named twice, or no picture column or several were
            found; the message lists the columns that there are.
    """
    import datasets

    there = f"The dataset has: {', '.join(features)}."
    named = {"image_column": image, "caption_column": caption, "label_column": label}
    for field, name in named.items():
        if name is not None and name not in features:
            raise UserError(field, f"there is no column {name!r}", there)
    image = image or _find_image(features, there)
    if _is_text(features[image]):
        raise names_only(image, "it holds text (paths or web addresses)", there)
    if not _holds_pictures(features[image]):
        holds = features[image]
        raise UserError("image_column", f"{image!r} holds {holds}, not pictures", there)
    if caption == image:
        raise UserError("caption_column", f"{caption!r} is the column of the pictures", there)
    caption = caption or _usual(features, CAPTION_NAMES)
    if label is None:
        classes = [c for c, f in features.items() if isinstance(f, datasets.ClassLabel)]
        label = classes[0] if classes else _usual(features, LABEL_NAMES)
    return Columns(image, caption, None if label in (image, caption) else label)


def _find_image(features: Mapping[str, Any], there: str) -> str:
    """The only column of pictures, or that with a usual name; decodable ones before raw bytes."""
    import datasets

    found = [c for c, f in features.items() if isinstance(f, datasets.Image)]
    found = found or [c for c, f in features.items() if _holds_pictures(f)]
    usual = [c for c in IMAGE_NAMES if c in found]
    if len(found) > 1 and usual:
        found = usual[:1]
    if len(found) > 1:
        raise UserError(
            "image_column", "several columns of pictures in the dataset", f"Name one. {there}"
        )
    if found:
        return found[0]
    named = _usual(features, IMAGE_NAMES)
    if named is not None:
        return named  # what it holds instead is told of it
    for column, feature in features.items():
        if _is_text(feature) and any(word in column.lower() for word in _SOUNDS_LIKE_A_NAME):
            raise names_only(column, "it holds text (paths or web addresses)", there)
    raise UserError("image_column", "no column of pictures in the dataset", f"Name one. {there}")


def names_only(column: str, why: str, there: str = "") -> UserError:
    """The error for a column that names pictures and does not hold them."""
    remedy = f"{NAMES_ONLY.format(column=column)} {there}".strip()
    return UserError("image_column", f"{column!r} holds no pictures: {why}", remedy)


def _holds_pictures(feature: Any) -> bool:
    """Whether a column can hold pictures, before anything is decoded."""
    import datasets

    if isinstance(feature, dict):
        return "bytes" in feature and _holds_pictures(feature["bytes"])
    is_bytes = isinstance(feature, datasets.Value) and feature.dtype in ("binary", "large_binary")
    return is_bytes or isinstance(feature, datasets.Image)


def _is_text(feature: Any) -> bool:
    import datasets

    if isinstance(feature, dict):
        return "path" in feature and not _holds_pictures(feature)
    return isinstance(feature, datasets.Value) and feature.dtype in ("string", "large_string")


def _usual(features: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in features), None)


def first_caption(value: Any) -> str:
    """A stored caption as text: "" where it is missing, the first where there are several."""
    if isinstance(value, (list, tuple)):
        value = value[0] if value else None
    return "" if value is None else str(value)
