"""report.html: one self-contained file that a person reads, made from report.json alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from memshield.audit.plots import COLOURS, Point, curve_plot, levels_plot, trade_off_plot
from memshield.audit.report import Interval, Memorization, Quality, Report, percent
from memshield.audit.watch_findings import band_name, findings, outcome_words, sentences
from memshield.audit.watch_record import WatchRecord
from memshield.config.mitigation import measures_of
from memshield.rundir import write_text


def write_page(report: Report, path: Path, beside: Sequence[Report] = ()) -> None:
    """Write report.html.

    Args:
        report: the audit.
        path: of the file.
        beside: audits of other models on the same pictures (the base, plain training).
    """
    quality = report.headline_quality
    everything = [report, *beside]
    curves = {name_of(one): one.headline.curve for one in everything if one.headline.curve}
    points = [point for point in map(point_of, everything) if point is not None]
    text = environment().get_template("report.html.jinja").render(
        title=f"Memorization audit of {name_of(report)}",
        subtitle=f"{report.made[:10]}, {report.generated.count} generated pictures against "
        f"{report.data.training} training pictures of {report.data.name}",
        report=report,
        tone=tone(report),
        quality=quality,
        rows=[row_of(one, one is report) for one in everything],
        level=percent(report.headline.level or 0.0),
        curve=curve_plot(curves) if curves else "",
        trade_off=trade_off_plot(points, axis_of(report.headline), axis_of_quality(quality))
        if len(points) > 1 and quality is not None
        else "",
        facts=facts_of(report),
        levels=_levels(report.watch) if report.watch is not None else None,
        figures=[
            (one.statistic, name, value)
            for one in report.memorization
            for name, value in one.figures.items()
        ],
    )  # fmt: skip
    write_text(path, text)


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
    quality = first.headline_quality
    points = [
        point
        for place, report in enumerate(reports)
        if (point := point_of(report, place == chosen)) is not None
    ]
    curves = {
        name_of(one): one.headline.curve for one in reports[-len(COLOURS) :] if one.headline.curve
    }
    text = environment().get_template("compare.html.jinja").render(
        title=f"{len(reports)} models side by side",
        subtitle=f"{first.generated.count} generated pictures of each, against "
        f"{first.data.training} training pictures of {first.data.name}",
        verdict=f"Chosen: {name_of(reports[chosen])}: {reason}." if chosen is not None else "",
        quality=quality,
        rows=[row_of(one, place == chosen) for place, one in enumerate(reports)],
        trade_off=trade_off_plot(
            points, axis_of(first.headline), axis_of_quality(quality), budget
        )
        if points
        else "",
        curve=curve_plot(curves) if curves else "",
        limits=first.limits,
    )  # fmt: skip
    write_text(path, text)


def environment() -> Environment:
    """Templates of the package; values are escaped, what is missing is an error."""
    made = Environment(
        loader=PackageLoader("memshield.audit", "."), autoescape=True, undefined=StrictUndefined
    )
    made.filters["percent"] = percent
    made.filters["interval"] = interval
    return made


def interval(found: Interval) -> str:
    """An interval of shares as a person reads it."""
    return f"{percent(found[0])} to {percent(found[1])}"


def name_of(report: Report) -> str:
    """A model's name, with its round where it is one of several."""
    target = report.target
    return target.name if target.round is None else f"{target.name}, round {target.round}"


def tone(report: Report) -> str:
    """How the verdict is coloured: alarm, calm, or neither."""
    found = report.headline.excess_interval
    if found is None or report.generated.broken * 2 > report.generated.count:
        return ""
    return "alarm" if found[0] > 0 else "calm"


def point_of(report: Report, chosen: bool = False) -> Point | None:
    """A model's place in the trade-off, where both figures are there."""
    headline, quality = report.headline, report.headline_quality
    if headline.excess is None or headline.excess_interval is None or quality is None:
        return None
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


def axis_of(headline: Memorization) -> str:
    """Label of the axis of memorization."""
    return f"excess over chance ({headline.statistic}, {headline.space})"


def axis_of_quality(quality: Quality | None) -> str:
    """Label of the axis of quality."""
    return f"{quality.measure} ({quality.space}),\n{quality.better} is better" if quality else ""


def row_of(report: Report, chosen: bool = False) -> dict[str, Any]:
    """A line of the table of several models."""
    headline, quality = report.headline, report.headline_quality
    said = headline.cannot_say is None
    return {
        "name": name_of(report),
        "share": percent(headline.share or 0.0) if said else "cannot say",
        "excess": interval(headline.excess_interval) if headline.excess_interval else "",
        "quality": f"{quality.value:.4g}" if quality else "",
        "chosen": chosen,
    }


def _mitigation(settings: Mapping[str, Any]) -> str:
    """What was done, in words; nothing where it is not known."""
    if not settings:
        return ""
    return "; ".join(one.short for one in measures_of(settings)) or "none: plain training"


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


def facts_of(report: Report) -> list[tuple[str, str]]:
    """What was measured, by name; what is not known is left out."""
    target, data, made = report.target, report.data, report.generated
    facts = [
        ("model", name_of(report)),
        ("fine-tuned from", target.base or ""),
        ("revision", target.revision or ""),
        ("mitigation", _mitigation(target.mitigation)),
        ("training set", f"{data.name}{f' at {data.revision}' if data.revision else ''}"),
        ("fingerprint", data.fingerprint),
        ("training pictures", f"{data.training}, {data.duplicate_groups} groups of duplicates"),
        ("held-out pictures", str(data.held_out)),
        ("resolution", f"{data.resolution} px"),
        (
            "generated pictures",
            f"{made.count}"
            + (f", seed {made.seed}" if made.seed is not None else "")
            + (f", {made.steps} steps" if made.steps else "")
            + (f", prompts: {made.prompts}" if made.prompts else "")
            + (f", {made.broken} broken" if made.broken else ""),
        ),
        ("versions", ", ".join(f"{k} {v}" for k, v in report.versions.items())),
        ("took", f"{report.seconds:.0f} s"),
    ]
    return [(name, value) for name, value in facts if value]
