"""The two statements of an audit: how much the model gives back, and how good its pictures are.

Neither is worth much without the other: a model that has learned nothing gives nothing back. The
page, report.html, the card and the command line render them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from memshield.audit.report import Interval, Quality, Report, percent
from memshield.audit.verdict import verdict

Tone = Literal["calm", "alarm", ""]
_HALFWAY = 0.5
_CLOSE = 0.05
"""Share of the way from fresh pictures to noise: real pictures at half their resolution are at
0.01, at a quarter of it at 0.08 (Fashion-MNIST at 16 px, principal components)."""
_COVERED = 0.25
"""Share of the recall of fresh pictures under which nothing is close to them. One blurred picture
again and again, flat colours and shuffled pixels are at 0.07 at most, trained models at 0.3 and
more, and the KID of all of them may be near that of fresh pictures (emoji, Fashion-MNIST)."""


@dataclass(frozen=True)
class Statement:
    """One of the two statements.

    Attributes:
        subject: what it is about, for a heading.
        words: the statement, without a full stop.
        detail: figures with their intervals, in sentences.
        tone: calm where it is good, alarm where it is bad, "" for neither.
        short: the statement in a few words, subject included, for a list.
    """

    subject: Literal["Copies", "Quality"]
    words: str
    detail: str
    tone: Tone
    short: str


def statements_of(report: Report, base: Report | None = None) -> tuple[Statement, Statement]:
    """What an audit says of copies and of quality.

    Neither is calm alone: a model that learned nothing is not praised for memorizing nothing.

    Args:
        report: the audit.
        base: that of the model before it was trained, where there is one.
    """
    copies = _copies(report)
    quality = _quality(report, base.headline_quality if base else None)
    if copies.tone == quality.tone == "calm":
        return copies, quality
    return _without_calm(copies), _without_calm(quality)


def lines_of(report: Report, base: Report | None = None) -> str:
    """Both statements as lines of a terminal."""
    margin = " " * 9
    return "\n".join(
        f"{f'{one.subject}:':<{len(margin)}}{one.words}.\n{margin}{one.detail}"
        for one in statements_of(report, base)
    )


def base_among(report: Report, beside: Iterable[Report]) -> Report | None:
    """Of audits set beside a model's, that of its own base."""
    base = report.target.base
    return next(
        (
            one
            for one in beside
            if base is not None
            and (one.target.kind, one.target.name) == ("pipeline", base)
            # A LoRA on the same base, under its name, is not the base.
            and one.target.base is None
        ),
        None,
    )


def tone_of(report: Report) -> Tone:
    """The tone of an audit as a whole: alarm where one statement alarms, calm where both are."""
    tones = {statement.tone for statement in statements_of(report)}
    return "alarm" if "alarm" in tones else "calm" if tones == {"calm"} else ""


def _without_calm(statement: Statement) -> Statement:
    if statement.tone != "calm":
        return statement
    return replace(statement, tone="")


def _copies(report: Report) -> Statement:
    headline, made = report.headline, report.generated
    detail = verdict(made, headline)
    if made.is_broken or headline.share is None or headline.excess_interval is None:
        words = "unknown: the model is broken" if made.is_broken else "unknown"
        return Statement("Copies", words, detail, "", "copies unknown")
    whole = headline.count
    copies, by_chance = round(headline.share * whole), (headline.control or 0.0) * whole
    missed = max(1, whole // 3)  # 0 of n leave 3 / n within a 95 % interval
    if headline.is_beyond_chance:
        words = f"{copies:,} of {whole:,} pictures, where chance makes about {by_chance:.0f}"
        return Statement("Copies", words, detail, "alarm", f"{copies:,} copies in {whole:,}")
    others = report.others_beyond_chance
    if others:
        most = max(others, key=lambda one: one.excess or 0.0)
        words = f"not ruled out: another measure finds {percent(most.excess or 0.0)} beyond chance"
        more = f" By {most.statistic}, in {most.space}, {percent(most.share or 0.0)} do."
        return Statement("Copies", words, detail + more, "", "copies not ruled out")
    if copies == 0:
        words = f"none in {whole:,} pictures; fewer than 1 in {missed:,} could be missed"
        return Statement("Copies", words, detail, "calm", f"no copies in {whole:,}")
    words = f"no more than chance: {copies:,} of {whole:,} pictures, by chance {by_chance:.0f}"
    return Statement("Copies", words, detail, "calm", "copies no more than chance")


def _quality(report: Report, base: Quality | None) -> Statement:
    quality = report.headline_quality
    if quality is None:
        return Statement("Quality", "unknown: it was not measured", "", "", "quality unknown")
    figure = f"{quality.measure} {_figure(quality.value)}{_ends(quality.interval)}"
    if quality.fresh is None or quality.noise is None or quality.noise <= quality.fresh:
        detail = f"{figure} in {quality.space}. What fresh pictures and noise have is not known."
        words = "unknown: there is nothing to hold it against"
        return Statement("Quality", words, detail, "", "quality unknown")
    way = (quality.value - quality.fresh) / (quality.noise - quality.fresh)
    detail = (
        f"{figure} in {quality.space}, where fresh pictures have {_figure(quality.fresh)} and "
        f"noise {_figure(quality.noise)}: {percent(max(0.0, way))} of the way to noise."
    )
    before = None if base is None or base.space != quality.space else base.value
    if before is not None:
        detail += f" Before it was trained, the model had {_figure(before)}."
    ends = quality.interval or (quality.value, quality.value)
    # With few held-out pictures the interval of a good model reaches noise, too.
    if ends[1] >= quality.noise and way > _HALFWAY:
        return Statement(
            "Quality", "not better than noise", detail, "alarm", "no better than noise"
        )
    if ends[1] >= quality.noise:
        words = "unknown: too few pictures are held out to tell it from noise"
        return Statement("Quality", words, detail, "", "quality unknown")
    if before is not None and quality.value >= before:
        words = "not better than before the training"
        # Nothing is wrong with a model that was good before.
        was_good = (before - quality.fresh) / (quality.noise - quality.fresh) <= _CLOSE
        tone: Tone = "" if was_good else "alarm"
        return Statement("Quality", words, detail, tone, "no better than before")
    if way > _CLOSE:
        return Statement("Quality", "rough", detail, "", "rough quality")
    covered = next(
        (one for one in report.quality if (one.measure, one.space) == ("recall", quality.space)),
        None,
    )
    if covered is None or covered.fresh is None or covered.value >= _COVERED * covered.fresh:
        return Statement("Quality", "close to fresh pictures", detail, "calm", "good quality")
    detail += (
        f" They cover {percent(covered.value)} of the held-out pictures, where fresh ones cover "
        f"{percent(covered.fresh)}."
    )
    return Statement("Quality", "without variety", detail, "", "pictures without variety")


def _figure(value: float) -> str:
    return f"{value:.3g}" if abs(value) >= 0.001 else "0"


def _ends(interval: Interval | None) -> str:
    return "" if interval is None else f" ({_figure(interval[0])} to {_figure(interval[1])})"
