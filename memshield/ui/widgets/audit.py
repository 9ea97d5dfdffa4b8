"""Views of an audit, and of the rounds that a budget chooses from."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import lru_cache

from markupsafe import Markup

from memshield.audit.choose import choose
from memshield.audit.plots import (
    COLOURS,
    Point,
    axis_of,
    axis_of_quality,
    curve_in,
    curve_plot,
    point_of,
    trade_off_plot,
)
from memshield.audit.report import Report, percent
from memshield.audit.report_view import ModelTable, View, facts_of, uncalibrated_figures
from memshield.audit.statements import statements_of
from memshield.runs.reports import same_pictures
from memshield.ui.widgets.problems import NO_AUDIT, empty_view
from memshield.ui.widgets.templates import render


def audit_view(
    report: Report | None,
    beside: Mapping[str, Report] | None = None,
    name: str = "this model",
    budget: float | None = None,
) -> str:
    """Show a whole audit, without any information about single training pictures.

    Args:
        report: of the model; None if it was not audited.
        beside: audits of other models on the same pictures, such as "base" and "plain".
        name: of the model, beside the others.
        budget: largest excess.
    """
    if report is None:
        return empty_view(*NO_AUDIT)
    everything = {name: report, **(beside or {})}
    points = [
        point._replace(label=shown, group=shown)
        for shown, one in everything.items()
        if (point := point_of(one, one is report)) is not None
    ]
    return render(
        "audit",
        report=report,
        statements=statements_of(report, (beside or {}).get("base")),
        table=ModelTable.of(everything.items(), View.PAGE, report),
        quality=report.headline_quality,
        level=None if report.headline.level is None else percent(report.headline.level),
        curve=curve_of(everything),
        curve_words=_curve_words(everything),
        trade_off=trade_off_of(points, report, budget),
        figures=uncalibrated_figures(report),
        facts=facts_of(report),
        same=all(same_pictures(one, report) for one in everything.values()),
    )


def earlier_view(audit: str, made: str) -> str:
    """Show an audit while another runs, whose result will take its place.

    Args:
        audit: as it is shown otherwise.
        made: when, as the report has it.
    """
    when = made.replace("T", ", ")[:17]
    return render("earlier", words=f"The audit before, of {when} UTC:", audit=Markup(audit))


def rounds_view(
    reports: Mapping[int, Report], budget: float | None, model: int | None = None
) -> str:
    """Show the audited rounds, and the one that the budget would choose.

    Args:
        reports: by round.
        budget: largest excess; None for no budget.
        model: round of the run's model, if known.
    """
    if not reports:
        return empty_view(
            "No round was audited",
            "Rounds are audited during the training of a run with a budget, or by Audit.",
        )
    numbers = sorted(reports)
    ordered = [reports[number] for number in numbers]
    choice = choose(ordered, budget) if budget is not None else None
    points = [
        point
        for place, one in enumerate(ordered)
        if (point := point_of(one, choice is not None and place == choice.place)) is not None
    ]
    return render(
        "rounds",
        table=ModelTable.of(zip(map(str, numbers), ordered, strict=True), View.ROUNDS, ordered[-1]),
        chosen=str(numbers[choice.place]) if choice else None,
        model=None if model is None else str(model),
        alike=len({(one.generated.count, one.generated.seed) for one in ordered}) == 1,
        within=choice.within if choice else None,
        reason=choice.reason if choice else "",
        trade_off=trade_off_of(points, ordered[-1], budget),
    )


def _curve_words(reports: Mapping[str, Report]) -> str:
    """Describe the curve by a few of its values, for screen readers."""
    parts = []
    for name, report in reports.items():
        curve = curve_in(report)
        few = [point for point in curve if round(point.alpha, 2) in (0.25, 0.5, 0.75)]
        if few:
            parts.append(
                f"{name}: "
                + ", ".join(
                    f"{percent(one.share)} at {one.alpha:.2g} (chance {percent(one.control)})"
                    for one in few
                )
            )
    return f"Share of pictures with a distance ratio under alpha. {'. '.join(parts)}."


def curve_of(reports: Mapping[str, Report]) -> str:
    """Data URI of the curve of given-back pictures over alpha; "" where no audit has one."""
    drawn = [(name, one) for name, one in reports.items() if curve_in(one)][: len(COLOURS)]
    return _curve(tuple((name, one.model_dump_json()) for name, one in drawn)) if drawn else ""


def trade_off_of(points: Sequence[Point], first: Report, budget: float | None) -> str:
    """Data URI of memorization against quality; "" with fewer than two points."""
    if len(points) < 2:
        return ""
    quality = axis_of_quality(first.headline_quality)
    return _trade_off(tuple(points), axis_of(first.headline), quality, budget)


@lru_cache(maxsize=16)
def _curve(texts: tuple[tuple[str, str], ...]) -> str:
    curves = {name: Report.model_validate_json(text).curve for name, text in texts}
    return _uri(curve_plot(curves))


@lru_cache(maxsize=16)
def _trade_off(
    points: tuple[Point, ...], memorization: str, quality: str, budget: float | None
) -> str:
    return _uri(trade_off_plot(points, memorization, quality, budget))


def _uri(svg: str) -> str:
    # As an image, it runs no scripts, fetches nothing, and its ids do not clash with others.
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
