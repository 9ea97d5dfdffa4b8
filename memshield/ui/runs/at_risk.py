"""View of the training pictures that are given back most often; only their owner may see it."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from memshield.audit.report import PRIVATE
from memshield.ui.widgets.problems import empty_view
from memshield.ui.widgets.templates import render

MOST_AT_RISK, MOST_PAIRS = 12, 12
_NOT_KNOWN = (
    "Training pictures at risk are not known",
    "This audit kept no record of them: its model is broken, or an older version made it.",
)
_URI = re.compile(r"data:image/png;base64,[A-Za-z0-9+/]+={0,2}")


class _Private(NamedTuple):
    """Entries of private.json; audits of older versions hold no pictures in them."""

    at_risk: list[dict[str, Any]]
    pairs: list[dict[str, Any]]


def at_risk_view(folder: Path) -> str:
    """Training pictures at risk, and generated pictures beside their nearest training pictures.

    The caller makes sure that the training pictures belong to the reader.

    Args:
        folder: of an audit.
    """
    private = _read(folder)
    if private is None:
        return empty_view(*_NOT_KNOWN)
    return render(
        "at_risk",
        at_risk=private.at_risk[:MOST_AT_RISK],
        pairs=private.pairs[:MOST_PAIRS],
        more_at_risk=max(0, len(private.at_risk) - MOST_AT_RISK),
        more_pairs=max(0, len(private.pairs) - MOST_PAIRS),
        pictured=all(risk["picture"] for risk in private.at_risk)
        and all(pair["training_picture"] for pair in private.pairs),
    )


def _read(folder: Path) -> _Private | None:
    try:
        stat = (folder / PRIVATE).stat()
    except OSError:
        return None
    return _parsed(folder / PRIVATE, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _parsed(path: Path, mtime: int, size: int) -> _Private | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return _Private(
            [_pictured(risk, "picture") for risk in values["at_risk"]],
            [_pictured(pair, "generated_picture", "training_picture") for pair in values["pairs"]],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # of another version
        return None


def _pictured(entry: dict[str, Any], *names: str) -> dict[str, Any]:
    """The entry with "" for a picture that is not there, or that the page would have to fetch."""
    pictures = {name: str(entry.get(name) or "") for name in names}
    return entry | {name: uri if _URI.fullmatch(uri) else "" for name, uri in pictures.items()}
