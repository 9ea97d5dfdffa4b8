"""Charts of a run: loss, samples kept by shard, held-out loss, memorization and quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from memshield.audit.choose import exceeds
from memshield.audit.report import Interval, Report, percent
from memshield.audit.report_view import excess_interval_words, excess_words
from memshield.runs.series import Dot
from memshield.runs.state import Audited, RunProgress
from memshield.ui.runs.levels import levels_chart
from memshield.ui.widgets.chart import Chart, Line, ReferenceLine, draw, path_of
from memshield.ui.widgets.problems import empty_view
from memshield.ui.widgets.scale import Scale, scale_of
from memshield.ui.widgets.templates import render
from memshield.ui.widgets.words import count, figure

MOST_ROWS = 12


def charts_view(
    progress: RunProgress,
    reports: Mapping[int, Report] | None = None,
    budget: float | None = None,
) -> str:
    """Draw the figures of a run.

    Args:
        progress: of the run.
        reports: audits by round, which are more complete than the run's events.
        budget: largest excess, drawn as a line.
    """
    audits = audits_of(progress, reports or {})
    charts = [
        _loss(progress),
        _kept(progress),
        levels_chart(progress.watch, int(_steps(progress).high)),
        _memorization(audits, budget),
        _quality(audits),
    ]
    if not any(charts):
        return empty_view("No figures yet", "They appear here after the first step.")
    return render("charts", charts=[one for one in charts if one])


def figures_view(progress: RunProgress, reports: Mapping[int, Report] | None = None) -> str:
    """The same by round as a folded table, which changes only when a round ends.

    It is separate from `charts_view`, so that an opened table does not close every second.
    """
    audits = {audit.round: audit for audit in audits_of(progress, reports or {})}
    ends = {end.round: end for end in progress.round_ends}
    numbers = sorted({*audits, *ends})
    if not numbers:
        return ""
    measure = next((audit.measure for audit in audits.values() if audit.measure), "")
    return render("figures", numbers=numbers, ends=ends, audits=audits, measure=measure)


def audits_of(progress: RunProgress, reports: Mapping[int, Report]) -> list[Audited]:
    """The findings of the audits, in the order of rounds."""
    audits = {audit.round: audit for audit in progress.audits}
    audits |= {number: _of_report(number, report) for number, report in reports.items()}
    return [audits[number] for number in sorted(audits)]


def _of_report(number: int, report: Report) -> Audited:
    headline, quality = report.headline, report.headline_quality
    whole = not report.generated.is_broken
    return Audited(
        number,
        headline.excess if whole else None,
        headline.excess_interval if whole else None,
        quality.value if quality else None,
        f"{quality.measure} ({quality.space})" if quality else None,
        quality.interval if quality else None,
        quality.better if quality else None,
    )


def _loss(progress: RunProgress) -> Markup:
    dots = progress.losses
    if not dots:
        return Markup("")
    values = [dot.value for dot in dots]
    y = scale_of(values, zero=True, log=True)
    last = progress.loss if progress.loss is not None else values[-1]
    least = min(dots, key=lambda dot: dot.value)
    return draw(
        Chart(
            title="Loss",
            last=f"{last:.4f} at step {count(progress.step)}",
            words=f"Loss by step: from {values[0]:.4g} at step {count(dots[0].step)} to {last:.4g} "
            f"at step {count(progress.step)}, the least {least.value:.4g} at step "
            f"{count(least.step)}.",
            x_label="optimizer steps of the whole run",
            y_label="mean of the last steps" + (", logarithmic" if y.log else ""),
            x=_steps(progress),
            y=y,
            lines=[Line("loss", tuple((dot.step, dot.value) for dot in dots))],
        )
    )


def _steps(progress: RunProgress) -> Scale:
    """An axis of the whole run, on which a line grows to the right and nothing else moves."""
    last = max((dot.step for dot in progress.losses), default=1)
    return Scale(0, max(progress.total or 0, last, 1), whole=True)


def _kept(progress: RunProgress) -> Markup:
    shards = [(number, dots) for number, dots in progress.kept_by_shard if dots]
    if not shards:
        return Markup("")
    x, y = _steps(progress), Scale(0, 1)
    drawn, others = shards[:MOST_ROWS], shards[MOST_ROWS:]
    mean = sum(dots[-1].value for _, dots in others) / len(others) if others else 0.0
    return render(
        "shards",
        rows=[_row(number, dots, x, y) for number, dots in drawn],
        others=len(others),
        mean=mean,
        waiting=max(0, (progress.shards or 0) - len(shards)),
    )


def _row(number: int, dots: Sequence[Dot], x: Scale, y: Scale) -> dict[str, object]:
    points = [(dot.step, dot.value) for dot in dots]
    return {
        "number": number,
        "path": path_of(points, x, y) if len(points) > 1 else "",
        "end": (x.place(points[-1][0]), round(100 - y.place(points[-1][1]), 2)),
        "last": dots[-1].value,
    }


def _memorization(audits: Sequence[Audited], budget: float | None) -> Markup:
    known = [audit for audit in audits if audit.excess is not None]
    if not known:
        return Markup("")
    points = tuple((float(audit.round), 100 * (audit.excess or 0.0)) for audit in known)
    intervals = tuple(
        (100 * audit.excess_interval[0], 100 * audit.excess_interval[1])
        if audit.excess_interval
        else None
        for audit in known
    )
    values = [value for _, value in points] + [end for ends in intervals if ends for end in ends]
    rule = ReferenceLine(f"budget, {percent(budget)}", 100 * budget) if budget is not None else None
    newest = known[-1]
    excess = newest.excess or 0.0
    words = "; ".join(
        f"round {audit.round} {excess_words(audit.excess or 0.0)}"
        + (f" ({excess_interval_words(audit.excess_interval)})" if audit.excess_interval else "")
        for audit in known
    )
    return draw(
        Chart(
            title="Memorization",
            last=f"{excess_words(excess)} in round {newest.round}"
            f"{_compared(excess, newest.excess_interval, budget)}",
            words=f"Given back beyond chance by round, with 95 % intervals: {words}."
            + (f" The budget is {percent(budget)}." if budget is not None else ""),
            x_label="round",
            y_label="generated pictures given back beyond chance, %, with 95 % intervals",
            x=_rounds(audits),
            y=scale_of([*values, *([rule.value] if rule else [])], zero=True),
            lines=[Line("excess", points, intervals, "--ms-orange", dots=True)],
            rule=rule,
            named=lambda value: f"{value:g} %",
        )
    )


def _compared(excess: float, interval: Interval | None, budget: float | None) -> str:
    if budget is None:
        return ""
    if exceeds(budget, excess, interval):
        return ", over the budget"
    return ", which chance may explain" if excess > budget else ", within the budget"


def _quality(audits: Sequence[Audited]) -> Markup:
    known = [audit for audit in audits if audit.quality is not None]
    if not known:
        return Markup("")
    points = tuple((float(audit.round), audit.quality or 0.0) for audit in known)
    intervals = tuple(audit.quality_interval for audit in known)
    values = [value for _, value in points] + [end for ends in intervals if ends for end in ends]
    newest = known[-1]
    measure = newest.measure or "quality"
    better = f", {newest.better} is better" if newest.better else ""
    words = "; ".join(f"round {audit.round} {figure(audit.quality)}" for audit in known)
    return draw(
        Chart(
            title="Quality",
            last=f"{figure(newest.quality)} in round {newest.round}",
            words=f"{measure} by round{better}: {words}.",
            x_label="round",
            y_label=measure + better,
            x=_rounds(audits),
            y=scale_of(values),
            lines=[Line(measure, points, intervals, "--ms-green", dots=True)],
        )
    )


def _rounds(audits: Sequence[Audited]) -> Scale:
    numbers = [one.round for one in audits]
    return Scale(min(numbers) - 0.5, max(numbers) + 0.5, whole=True)
