"""View of the training pictures that are given back most often; only their owner may see it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from memshield.audit.report import PRIVATE
from memshield.ui.widgets.problems import NO_AUDIT, empty_view
from memshield.ui.widgets.templates import render

MOST_AT_RISK, MOST_PAIRS = 12, 12
_PAGE = "private.html"
_URI = re.compile(r"data:image/png;base64,[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True)
class _Found:
    """Entries of private.json with their pictures."""

    at_risk: tuple[tuple[dict[str, Any], str], ...]
    pairs: tuple[tuple[dict[str, Any], str, str], ...]


def at_risk_view(folder: Path) -> str:
    """Training pictures at risk, and generated pictures beside their nearest training pictures.

    The caller makes sure that the training pictures belong to the reader.

    Args:
        folder: of an audit.
    """
    found = _read(folder)
    if found is None:
        return empty_view(*NO_AUDIT)
    return render(
        "at_risk",
        at_risk=found.at_risk[:MOST_AT_RISK],
        pairs=found.pairs[:MOST_PAIRS],
        more_at_risk=max(0, len(found.at_risk) - MOST_AT_RISK),
        more_pairs=max(0, len(found.pairs) - MOST_PAIRS),
    )


def _read(folder: Path) -> _Found | None:
    try:
        stats = [(folder / name).stat() for name in (PRIVATE, _PAGE)]
    except OSError:
        return None
    return _parsed(folder, *((stat.st_mtime_ns, stat.st_size) for stat in stats))


@lru_cache(maxsize=4)
def _parsed(folder: Path, values: tuple[int, int], page: tuple[int, int]) -> _Found | None:
    try:
        told = json.loads((folder / PRIVATE).read_text(encoding="utf-8"))
        pictures = _Pictures()
        pictures.feed((folder / _PAGE).read_text(encoding="utf-8"))
        at_risk, pairs = list(told["at_risk"]), list(told["pairs"])
    except (OSError, ValueError, KeyError, TypeError):  # being written, or of another version
        return None
    uris = pictures.uris
    if len(uris) != len(at_risk) + 2 * len(pairs):
        return None
    both = uris[len(at_risk) :]
    return _Found(
        tuple(zip(at_risk, uris[: len(at_risk)], strict=True)),
        tuple(zip(pairs, both[::2], both[1::2], strict=True)),
    )


class _Pictures(HTMLParser):
    """The pictures in private.html, in order: those at risk, then the pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.uris: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        source = dict(attrs).get("src") or ""
        if tag == "img" and _URI.fullmatch(source):
            self.uris.append(source)
