"""What an audit found, and which round a budget would choose."""

from __future__ import annotations

from collections.abc import Mapping

from memshield.audit.choose import choose
from memshield.audit.plots import point_of
from memshield.audit.report import Report, percent
from memshield.audit.report_view import ModelRow, facts_of, tone, uncalibrated_figures
from memshield.ui.widgets.audit_plots import curve_of, trade_off_of
from memshield.ui.widgets.problems import NO_AUDIT, empty_view
from memshield.ui.widgets.templates import render


def verdict_view(report: Report | None) -> str:
    """The verdict alone."""
    if report is None:
        return empty_view(*NO_AUDIT)
    return render("verdict", report=report, tone=_tone(report))


def audit_view(
    report: Report | None,
    beside: Mapping[str, Report] | None = None,
    name: str = "this model",
    budget: float | None = None,
) -> str:
    """A whole audit; nothing in it points at a single training picture.

    Args:
        report: of the model; None where it was not audited.
        beside: audits on the same pictures of other models, such as "base" and "plain".
        name: what the model is called beside them.
        budget: largest excess of given-back pictures.
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
        tone=_tone(report),
        rows=[ModelRow.of(one, shown).cells() for shown, one in everything.items()],
        quality=report.headline_quality,
        level=percent(report.headline.level or 0.0),
        curve=curve_of(everything),
        curve_words=_curve_words(everything),
        trade_off=trade_off_of(points, report, budget),
        figures=uncalibrated_figures(report),
        facts=facts_of(report),
        same=all(one.data.fingerprint == report.data.fingerprint for one in everything.values()),
    )


def rounds_view(
    reports: Mapping[int, Report], budget: float | None, model: int | None = None
) -> str:
    """The rounds that were audited, and which of them the budget would choose.

    Args:
        reports: by round.
        budget: largest excess; None for no choice.
        model: the round that the run's model is; None where not known.
    """
    if not reports:
        return empty_view(
            "No round was audited",
            "Rounds are audited while a run with a budget trains, or all at once by Audit.",
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
        rows=[(number, ModelRow.of(reports[number], "").cells()) for number in numbers],
        chosen=numbers[choice.place] if choice else None,
        model=model,
        alike=len({(one.generated.count, one.generated.seed) for one in ordered}) == 1,
        within=choice.within if choice else None,
        reason=choice.reason if choice else "",
        quality=ordered[-1].headline_quality,
        trade_off=trade_off_of(points, ordered[-1], budget),
    )


def _tone(report: Report) -> str:
    """The class of the box: alarm, calm, or neither."""
    found = tone(report)
    return f"ms-{found}" if found else ""


def _curve_words(reports: Mapping[str, Report]) -> str:
    """The curve for who does not see it: a few of its values."""
    parts = []
    for name, report in reports.items():
        curve = report.headline.curve
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
