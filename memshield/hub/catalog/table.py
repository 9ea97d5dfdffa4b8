"""The output of the catalog commands: tables for people, JSON for machines.

Text of strangers is shown without control characters.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_UNITS = ("", " K", " M", " G", " T")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Aligned columns under their heads; those with a head that ends in ":" to the right."""
    cells = [[head.rstrip(":") for head in heads], *([plain(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [head.endswith(":") for head in heads]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    )


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A name and a value a line."""
    pairs = list(pairs)
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"{name:<{width}}  {plain(value)}" for name, value in pairs)


def plain(text: str) -> str:
    """On one line; what would move the cursor or hide text becomes a question mark."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


def rounded(count: int | None) -> str:
    """A number in three figures, such as 860 M; a question mark for None."""
    if count is None:
        return "?"
    value, prefix = float(count), 0
    while value >= 999.5 and prefix < len(_UNITS) - 1:
        value, prefix = value / 1000, prefix + 1
    number = f"{value:.0f}" if value >= 99.5 or prefix == 0 else f"{value:.3g}"
    return f"{number}{_UNITS[prefix]}"


def to_json(found: DataclassInstance) -> str:
    """The attributes of a page or description, by name; times in ISO 8601."""
    return json.dumps(asdict(found), indent=1, default=_time)


def _time(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"no JSON for {type(value).__name__}")
