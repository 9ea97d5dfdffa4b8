"""A small chart as HTML and SVG: it stretches to any width while its text keeps its size.

matplotlib draws the plots of an audit (`memshield.audit.plots`), but not these: a run's charts are
redrawn with every step, and matplotlib takes some eighty times as long for one of them as this
module takes for all. Its images would also shrink their text on a phone, and ignore the page's
colours. The plots of an audit, in turn, are files of their own, with bands, labelled points and
error bars in both directions, which the page's charts do not need.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from memshield.ui.widgets.scale import Scale
from memshield.ui.widgets.templates import render

Interval = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A line of points.

    Attributes:
        name: for the legend.
        points: x and y.
        intervals: of y, one for each point, or none at all.
        colour: a CSS variable.
        dots: whether each point is marked.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    intervals: tuple[Interval | None, ...] = ()
    colour: str = "--ms-blue"
    dots: bool = False


@dataclass(frozen=True)
class ReferenceLine:
    """A horizontal line to compare the points with."""

    name: str
    value: float


@dataclass(frozen=True)
class Chart:
    """The data of a chart.

    Attributes:
        title: of the figure.
        last: the newest value, shown beside the title.
        words: describe the figure to screen readers.
        x_label, y_label: of the axes, with units.
        x, y: the axes.
        lines: of points.
        rule: to compare them with.
        named: formats a value of y.
    """

    title: str
    last: str
    words: str
    x_label: str
    y_label: str
    x: Scale
    y: Scale
    lines: Sequence[Line]
    rule: ReferenceLine | None = None
    named: Callable[[float], str] = "{:g}".format


def draw(chart: Chart) -> Markup:
    """Draw the figure."""
    x, y = chart.x, chart.y
    y_ticks = [(y.place(tick), chart.named(tick)) for tick in y.ticks(4)]
    return render(
        "chart",
        chart=chart,
        x_ticks=[(x.place(tick), f"{tick:,.0f}") for tick in x.ticks(5)],
        y_ticks=y_ticks,
        lines=[_drawn(line, x, y) for line in chart.lines],
        rule=100 - y.place(chart.rule.value) if chart.rule else None,
        legend=len(chart.lines) > 1 or chart.rule is not None,
    )


def path_of(points: Sequence[tuple[float, float]], x: Scale, y: Scale) -> str:
    """Write points as the path of an SVG that is 100 wide and high."""
    return "M" + "L".join(f"{x.place(a):g} {100 - y.place(b):g}" for a, b in points)


def _drawn(line: Line, x: Scale, y: Scale) -> dict[str, object]:
    places = [(x.place(a), round(100 - y.place(b), 2)) for a, b in line.points]
    return {
        "name": line.name,
        "colour": line.colour,
        "path": path_of(line.points, x, y) if len(line.points) > 1 else "",
        # A line of a single point would be invisible.
        "dots": places if line.dots or len(places) == 1 else [],
        "bars": [
            (places[i][0], round(100 - y.place(found[1]), 2), round(100 - y.place(found[0]), 2))
            for i, found in enumerate(line.intervals)
            if found is not None
        ],
    }
