"""The audit's plots as pictures in the page's text, drawn once for the same audits."""

from __future__ import annotations

import base64
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache

from memshield.audit.plots import (
    COLOURS,
    Point,
    axis_of,
    axis_of_quality,
    curve_plot,
    trade_off_plot,
)
from memshield.audit.report import Report

_DRAWING = threading.Lock()
"""matplotlib keeps its style for the whole process."""


def curve_of(reports: Mapping[str, Report]) -> str:
    """Data URI of the curve of given-back pictures over alpha; "" where no audit has one."""
    drawn = [(name, one) for name, one in reports.items() if one.headline.curve][: len(COLOURS)]
    return _curve(tuple((name, one.model_dump_json()) for name, one in drawn)) if drawn else ""


def trade_off_of(points: Sequence[Point], first: Report, budget: float | None) -> str:
    """Data URI of memorization against quality; "" with fewer than two points."""
    if len(points) < 2:
        return ""
    quality = axis_of_quality(first.headline_quality)
    return _trade_off(tuple(points), axis_of(first.headline), quality, budget)


@lru_cache(maxsize=16)
def _curve(texts: tuple[tuple[str, str], ...]) -> str:
    curves = {name: Report.model_validate_json(text).headline.curve for name, text in texts}
    with _DRAWING:
        return _uri(curve_plot(curves))


@lru_cache(maxsize=16)
def _trade_off(
    points: tuple[Point, ...], memorization: str, quality: str, budget: float | None
) -> str:
    with _DRAWING:
        return _uri(trade_off_plot(points, memorization, quality, budget))


def _uri(svg: str) -> str:
    # As a picture it runs nothing, asks for nothing, and its ids meet no others.
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
