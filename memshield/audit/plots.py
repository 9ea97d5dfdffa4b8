"""Plots of audits as SVG text: how much is given back, and what quality it costs."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from memshield.audit.report import CurvePoint, Interval, Memorization, Quality, Report
from memshield.audit.watch_findings import above_lowest, band_name, findings, height_of, some_of
from memshield.audit.watch_record import WatchRecord

# matplotlib is imported where it draws: a quarter of a second that the page's start need not wait.
if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: small, sharp, and read by screen readers
    "svg.hashsalt": "memshield",  # the same audit gives the same file
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "figure.facecolor": "none",  # what lies below shows its own paper
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
}
# Told apart by those who see no red or green as well (Okabe and Ito 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")

_MOST_LABELS = 20
"""With more points than this, only the last of each group is named."""

_MOST_BANDS = 12

_DRAWING = threading.Lock()
"""matplotlib keeps its style for the whole process, and the page draws in several threads."""
_LONGEST = 24
"""Letters of a label: longer ones leave no room for what is drawn."""


class Point(NamedTuple):
    """A model in the trade-off.

    Attributes:
        label: which it is.
        group: points of one group are joined, in order.
        memorization: excess share, with its interval.
        quality: value of the headline measure, with its interval where there is one.
        chosen: drawn larger.
    """

    label: str
    group: str
    memorization: float
    memorization_interval: Interval
    quality: float
    quality_interval: Interval | None
    chosen: bool = False


def point_of(report: Report, chosen: bool = False) -> Point | None:
    """A model's place in the trade-off, where both figures are there."""
    headline, quality = report.headline, report.headline_quality
    if headline.excess is None or headline.excess_interval is None or quality is None:
        return None
    if report.generated.is_broken:
        return None  # of the few whole pictures of a broken model nothing follows
    target = report.target
    return Point(
        target.name if target.round is None else str(target.round),
        target.name,
        headline.excess,
        headline.excess_interval,
        quality.value,
        quality.interval,
        chosen,
    )


def curve_in(report: Report) -> tuple[CurvePoint, ...]:
    """The curve of an audit to draw; () where it has none, or the model is broken."""
    return () if report.generated.is_broken else report.curve


def axis_of(headline: Memorization) -> str:
    """Label of the axis of memorization; the statistic may differ from point to point."""
    return f"given back beyond chance ({headline.space})"


def axis_of_quality(quality: Quality | None) -> str:
    """Label of the axis of quality."""
    return f"{quality.measure} ({quality.space}),\n{quality.better} is better" if quality else ""


def curve_plot(curves: Mapping[str, Sequence[CurvePoint]]) -> str:
    """Share of pictures whose distance ratio is under alpha, by alpha; chance is dashed.

    Args:
        curves: by the model's name; all over the same held-out pictures.
    """
    with _figure(6.4, 3.6) as figure:
        axes = figure.subplots()
        for (name, curve), colour in zip(curves.items(), COLOURS, strict=False):
            alphas = [point.alpha for point in curve]
            axes.plot(alphas, [point.share for point in curve], color=colour, label=_short(name))
            axes.fill_between(
                alphas,
                [point.interval[0] for point in curve],
                [point.interval[1] for point in curve],
                color=colour,
                alpha=0.18,
                linewidth=0,
            )
        control = next(iter(curves.values()))
        axes.plot(
            [point.alpha for point in control],
            [point.control for point in control],
            color="#555555",
            linestyle="--",
            label="fresh real pictures (chance)",
        )
        axes.set(xlabel="alpha", ylabel="share with a ratio under alpha", xlim=(0, 1), ylim=(0, 1))
        axes.legend(frameon=False)
        return svg_of(figure)


def trade_off_plot(
    points: Sequence[Point], memorization: str, quality: str, budget: float | None = None
) -> str:
    """Memorization against quality, each point with its intervals.

    Args:
        points: of all models.
        memorization, quality: labels of the axes, with the feature space.
        budget: drawn as a line.
    """
    with _figure(6.4, 4.2) as figure:
        axes = figure.subplots()
        groups = list(dict.fromkeys(point.group for point in points))
        for group, colour in zip(groups, COLOURS * len(groups), strict=False):
            own = [point for point in points if point.group == group]
            axes.plot(
                [100 * point.memorization for point in own],
                [point.quality for point in own],
                color=colour,
                alpha=0.5,
                label=_short(group),
            )
            for point in own:
                low, high = point.memorization_interval
                errors: dict[str, Any] = {
                    "xerr": [
                        [max(0.0, 100 * (point.memorization - low))],
                        [max(0.0, 100 * (high - point.memorization))],
                    ]
                }
                if point.quality_interval is not None:
                    low, high = point.quality_interval
                    errors["yerr"] = [
                        [max(0.0, point.quality - low)],
                        [max(0.0, high - point.quality)],
                    ]
                axes.errorbar(
                    100 * point.memorization,
                    point.quality,
                    fmt="o",
                    color=colour,
                    markersize=9 if point.chosen else 5,
                    markeredgecolor="#000000" if point.chosen else colour,
                    elinewidth=0.8,
                    **errors,
                )
                if len(points) > _MOST_LABELS and point is not own[-1]:
                    continue
                axes.annotate(
                    _short(point.label),
                    (100 * point.memorization, point.quality),
                    xytext=(5, 4),
                    textcoords="offset points",
                    fontsize=8,
                )
        if budget is not None:
            axes.axvline(100 * budget, color="#555555", linestyle="--", label="budget")
        axes.set(xlabel=f"{memorization}, %", ylabel=quality)
        if len(groups) > 1 or budget is not None:
            axes.legend(frameon=False)
        return svg_of(figure)


def levels_plot(record: WatchRecord) -> str:
    """Held-out loss above each band's lowest by step, a small plot a band.

    Args:
        record: with at least one check.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    found = findings(record)
    drawn, top = some_of(found, _MOST_BANDS), 100 * height_of(found)
    blue, orange, green = COLOURS[:3]
    rows = -(-len(drawn) // 2)
    with _figure(6.4, 0.9 + 0.95 * rows) as figure:
        grid = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False)
        for axes in grid.flat[len(drawn) :]:
            axes.set_visible(False)
        for band, axes in zip(drawn, grid.flat, strict=False):
            steps, heights = zip(*above_lowest(record, band), strict=True)
            shares = [100 * height for height in heights]
            axes.fill_between(steps, shares, -top, color=blue, alpha=0.12, linewidth=0)
            axes.plot(steps, shares, color=blue, linewidth=1.4)
            axes.plot(band.lowest_step, 0, "o", color=green, markersize=5, zorder=3)
            if band.stopped is not None:
                axes.axvline(band.stopped, color=orange, linestyle="--", linewidth=1.4)
            axes.set_title(f"noise {band_name(record, band)}", fontsize=8, pad=3)
            axes.set_ylim(-top / 4, top)
            axes.tick_params(labelsize=8)
        figure.supxlabel("optimizer steps of the whole run", fontsize=9)
        figure.supylabel("held-out loss above the band's lowest, %", fontsize=9)
        marks: list[Any] = [
            Patch(color=blue, alpha=0.4, label="held-out loss"),
            Line2D([], [], color=green, marker="o", markersize=5, linestyle="", label="lowest"),
        ]
        if any(band.stopped is not None for band in drawn):
            marks.append(Line2D([], [], color=orange, linestyle="--", label="stopped"))
        figure.legend(handles=marks, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
        return svg_of(figure)


def _short(label: str) -> str:
    """A label without its middle where it is long: names often differ at their ends."""
    if len(label) <= _LONGEST:
        return label
    half = _LONGEST // 2
    return f"{label[:half]}…{label[1 - half :]}"


@contextmanager
def _figure(width: float, height: float) -> Iterator[Figure]:
    """A figure of a size in inches, in the style of all plots, to be drawn before the next."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # A name with two dollar signs is no formula, and no label here is one.
    with _DRAWING, mpl.rc_context({**STYLE, "text.parse_math": False}):
        yield Figure(figsize=(width, height), layout="constrained")


def svg_of(figure: Figure) -> str:
    """A figure as SVG text without a header, the same every time."""
    text = io.StringIO()
    figure.savefig(
        text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
    )
    whole = text.getvalue()
    return whole[whole.index("<svg") :]
