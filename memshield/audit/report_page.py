"""report.html: a self-contained page, rendered from a report alone."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from memshield.audit.plots import (
    COLOURS,
    axis_of,
    axis_of_quality,
    curve_in,
    curve_plot,
    levels_plot,
    point_of,
    trade_off_plot,
)
from memshield.audit.report import Report, percent
from memshield.audit.report_view import (
    ModelTable,
    View,
    excess_interval_words,
    facts_of,
    interval,
    name_of,
    uncalibrated_figures,
)
from memshield.audit.statements import statements_of
from memshield.audit.watch_findings import band_name, findings, outcome_words, sentences
from memshield.audit.watch_record import WatchRecord
from memshield.quantities import plural
from memshield.rundir import write_text


def write_page(
    report: Report, path: Path, beside: Sequence[Report] = (), base: Report | None = None
) -> None:
    """Write report.html; see `page_of`."""
    write_text(path, page_of(report, beside, base))


def page_of(report: Report, beside: Sequence[Report] = (), base: Report | None = None) -> str:
    """The text of report.html. The same reports give the same text.

    Args:
        report: the audit.
        beside: audits of other models on the same pictures (the base, plain training).
        base: the one among them that is of the model before it was trained.
    """
    quality = report.headline_quality
    everything = [report, *beside]
    names = _names(everything)
    curves = {
        name: curve for name, one in zip(names, everything, strict=True) if (curve := curve_in(one))
    }
    points = [point for point in map(point_of, everything) if point is not None]
    return environment().get_template("report.html.jinja").render(
        title=f"Memorization audit of {name_of(report)}",
        subtitle=f"{report.made[:10]}, {report.generated.count} generated pictures against "
        f"{report.data.training} training pictures of {report.data.name}",
        report=report,
        statements=statements_of(report, base),
        quality=quality,
        table=ModelTable.of(zip(names, everything, strict=True), View.REPORT, report),
        chosen=0,
        level=None if report.headline.level is None else percent(report.headline.level),
        curve=curve_plot(curves) if curves else "",
        trade_off=trade_off_plot(points, axis_of(report.headline), axis_of_quality(quality))
        if len(points) > 1 and quality is not None
        else "",
        facts=facts_of(report),
        levels=_levels(report.watch) if report.watch is not None else None,
        figures=uncalibrated_figures(report),
    )  # fmt: skip


def _names(reports: Sequence[Report]) -> list[str]:
    """The names of models that are shown together: those that are alike are numbered."""
    names: list[str] = []
    seen: Counter[str] = Counter()
    for name in map(name_of, reports):
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return names


def write_comparison(
    reports: Sequence[Report], path: Path, budget: float | None, chosen: int | None, reason: str
) -> None:
    """Write compare.html.

    Args:
        reports: all of the same pictures.
        path: of the file.
        budget: largest excess, drawn as a line.
        chosen: place of the chosen one in `reports`.
        reason: why it was chosen.
    """
    first = reports[0]
    # A model without a whole picture has no quality, and it may be the first.
    measured = next((one for one in reports if one.headline_quality is not None), first)
    quality = measured.headline_quality
    points = [
        point
        for place, report in enumerate(reports)
        if (point := point_of(report, place == chosen)) is not None
    ]
    names = _names(reports)
    curves = {
        name: curve
        for name, one in list(zip(names, reports, strict=True))[-len(COLOURS) :]
        if (curve := curve_in(one))
    }
    text = environment().get_template("compare.html.jinja").render(
        title=f"{len(reports)} models side by side",
        subtitle=f"{first.generated.count} generated pictures of each, against "
        f"{first.data.training} training pictures of {first.data.name}",
        verdict=f"Chosen: {names[chosen]}: {reason}." if chosen is not None else "",
        quality=quality,
        table=ModelTable.of(zip(names, reports, strict=True), View.REPORT, measured),
        chosen=chosen,
        trade_off=trade_off_plot(
            points, axis_of(first.headline), axis_of_quality(quality), budget
        )
        if points
        else "",
        curve=curve_plot(curves) if curves else "",
        limits=first.limits,
    )  # fmt: skip
    write_text(path, text)


@functools.cache
def environment() -> Environment:
    """Templates of the package; values are escaped, what is missing is an error."""
    made = Environment(
        loader=PackageLoader("memshield.audit", "."), autoescape=True, undefined=StrictUndefined
    )
    made.filters["percent"] = percent
    made.filters["plural"] = plural
    made.filters["interval"] = interval
    made.filters["excess_interval_words"] = excess_interval_words
    return made


def _levels(record: WatchRecord) -> dict[str, Any]:
    """The watch of the held-out loss by noise level, to show."""
    return {
        "record": record,
        "sentences": sentences(record),
        "rows": [
            (band_name(record, band), band, outcome_words(record, band))
            for band in findings(record)
        ],
        "plot": levels_plot(record) if len(record.checks) > 1 else "",
    }
