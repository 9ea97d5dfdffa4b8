"""A small chart as HTML and SVG: it stretches to any width while its text keeps its size."""

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
        intervals: of y, one a point where there are any.
        colour: a CSS variable.
        dots: whether each point is marked.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    intervals: tuple[Interval | None, ...] = ()
    colour: str = "--ms-blue"
    dots: bool = False


@dataclass(frozen=True)
class Rule:
    """A level that the points are compared with."""

    name: str
    value: float


@dataclass(frozen=True)
class Chart:
    """What is drawn.

    Attributes:
        title: of the figure.
        last: the newest value, said beside the title.
        words: what the figure shows, for who does not see it.
        x_label, y_label: of the axes, with units.
        x, y: the axes.
        named: how a value of y is written.
    """

    title: str
    last: str
    words: str
    x_label: str
    y_label: str
    x: Scale
    y: Scale
    lines: Sequence[Line]
    rule: Rule | None = None
    named: Callable[[float], str] = "{:g}".format


def draw(chart: Chart) -> Markup:
    """The figure."""
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
    """The points as the path of an SVG that is 100 wide and high."""
    return "M" + "L".join(f"{x.place(a):g} {100 - y.place(b):g}" for a, b in points)


def _drawn(line: Line, x: Scale, y: Scale) -> dict[str, object]:
    places = [(x.place(a), round(100 - y.place(b), 2)) for a, b in line.points]
    return {
        "name": line.name,
        "colour": line.colour,
        "path": path_of(line.points, x, y) if len(line.points) > 1 else "",
        # A single point is no line: it is seen as a dot only.
        "dots": places if line.dots or len(places) == 1 else [],
        "bars": [
            (places[i][0], round(100 - y.place(found[1]), 2), round(100 - y.place(found[0]), 2))
            for i, found in enumerate(line.intervals)
            if found is not None
        ],
    }
