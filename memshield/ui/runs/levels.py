"""Chart of the held-out loss of a run by noise level: a row a band, all on one scale."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from memshield.audit.watch_findings import (
    Band,
    above_lowest,
    band_name,
    findings,
    height_of,
    outcome_words,
    sentences,
    some_of,
    summary,
)
from memshield.audit.watch_record import WatchRecord
from memshield.ui.widgets.scale import Scale
from memshield.ui.widgets.templates import render

MOST_BANDS = 12
_MOST_POINTS = 120


def levels_chart(record: WatchRecord | None, last: int) -> Markup:
    """Draw the chart, and say in words what it shows; empty before the first check.

    Args:
        record: of the run; None if nothing is watched.
        last: step at which the axes end.
    """
    found = findings(record) if record is not None else ()
    if record is None or not found:
        return Markup("")
    drawn, height = some_of(found, MOST_BANDS), height_of(found)
    x = Scale(0, max(last, record.checks[-1].step, 1), whole=True)
    return render(
        "levels",
        record=record,
        last=summary(record),
        sentences=sentences(record),
        height=height,
        rows=[_row(record, band, x, height) for band in drawn],
        ticks=[(x.place(tick), tick) for tick in x.ticks(3)],
        stops=any(band.stopped is not None for band in drawn),
    )


def _row(record: WatchRecord, band: Band, x: Scale, height: float) -> dict[str, object]:
    points = [(x.place(step), _depth(above, height)) for step, above in above_lowest(record, band)]
    path = "L".join(f"{a:g} {b:g}" for a, b in _thinned(points))
    return {
        "name": band_name(record, band),
        "line": f"M{path}" if len(points) > 1 else "",
        "area": f"M{points[0][0]:g} 100L{path}L{points[-1][0]:g} 100Z" if len(points) > 1 else "",
        "lowest": (x.place(band.lowest_step), _depth(0.0, height)),
        "lowest_step": band.lowest_step,
        "stopped": x.place(band.stopped) if band.stopped is not None else None,
        "words": outcome_words(record, band),
    }


def _depth(above: float, height: float) -> float:
    """Distance of a loss from the row's upper edge, in percent; higher losses leave the row.

    A fifth of the row lies below the lowest loss: for its mark, and for a loss that falls below
    it after a stop, which then runs along the lower edge.
    """
    return round(min(max(80 * (1 - above / height), -1000.0), 96.0), 2)


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Keep every n-th point, and the last."""
    stride = -(-len(points) // _MOST_POINTS)
    return [*points[:-1:stride], points[-1]]
