"""Aspect buckets: the sizes that pictures are cut to, so that they keep their shapes. No torch."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Sequence

from memshield.config.schema import DataSettings
from memshield.errors import UserError

FIELD = "aspect_ratio_buckets"
AUTO = "auto"
Size = tuple[int, int]
"""Height and width in pixels, in diffusers' order."""

MOST_SIZES = 256
_LEAST, _MOST = 4, 8192
_PAIR = re.compile(r"(\d{1,6}),(\d{1,6})")


def parse_sizes(text: str) -> tuple[Size, ...]:
    """The sizes in the words of diffusers' `parse_buckets_string`, which would import torch.

    Args:
        text: "height,width" pairs with ";" between them.

    Raises:
        UserError: it is something else, or a side is out of range.
    """
    example = f"Write {AUTO}, or pairs of height,width such as 1024,1024;832,1248;1248,832."
    found = []
    for part in text.split(";"):
        match = _PAIR.fullmatch("".join(part.split()))
        if match is None:
            raise UserError(FIELD, f"{part.strip()[:40]!r} is no height,width", example)
        height, width = int(match[1]), int(match[2])
        if not all(_LEAST <= side <= _MOST for side in (height, width)):
            raise UserError(
                FIELD,
                f"{height},{width} has a side that is not from {_LEAST} to {_MOST} pixels",
                example,
            )
        found.append((height, width))
    if len(found) > MOST_SIZES:
        raise UserError(FIELD, f"{len(found)} sizes are more than {MOST_SIZES}", "Name fewer.")
    return tuple(dict.fromkeys(found))


def is_auto(settings: DataSettings) -> bool:
    """Whether diffusers' generator is to choose the sizes."""
    return (settings.aspect_ratio_buckets or "").strip() == AUTO


def problem_of_text(settings: DataSettings) -> UserError | None:
    """What is wrong with the text of the setting; None where nothing is."""
    try:
        sizes_of(settings)
    except UserError as error:
        return error
    return None


def sizes_of(settings: DataSettings) -> tuple[Size, ...]:
    """The sizes of the buckets; () without buckets, and where `auto` has not been settled yet."""
    text = settings.aspect_ratio_buckets
    return () if text is None or is_auto(settings) else parse_sizes(text)


def as_text(sizes: Sequence[Size]) -> str:
    """Sizes as the setting has them."""
    return ";".join(f"{height},{width}" for height, width in sizes)


def most_pixels(settings: DataSettings, resolution: int) -> int:
    """Pixels of the largest training pictures.

    Args:
        settings: of the data; buckets under `auto` have about the pixels of the square.
        resolution: side of the square that pictures are cut to without buckets.
    """
    sizes = sizes_of(settings) or ((resolution, resolution),)
    return max(height * width for height, width in sizes)


def lost_to_squares(sizes: Iterable[Size]) -> float | None:
    """Share of its area that the median picture loses when it is cut to a square.

    Args:
        sizes: of the pictures.

    Returns:
        None for no pictures.
    """
    lost = [1 - min(size) / max(size) for size in sizes]
    return statistics.median(lost) if lost else None


def size_in_words(resolution: int | None, text: object) -> str:
    """The size of training pictures in words.

    Args:
        resolution: in pixels.
        text: of the setting, if it was used.
    """
    return f"{resolution} px" + (", in aspect buckets" if text else "")
