"""A report as data to show: a model's row in a table, its name, its tone and its facts.

The page, report.html and the card render them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from memshield.audit.report import Interval, Report, percent
from memshield.config.mitigation import measures_of


@dataclass(frozen=True)
class ModelRow:
    """A model's figures in a table of several models; None for what is not known.

    Attributes:
        name: of the model in this table.
        unknown: why nothing is said of its memorization, in a word or two; "" where it is.
        share, control, excess, excess_interval: of the headline statistic.
        auc, auc_interval: of the first membership-inference attack.
        quality, quality_interval: of the headline measure.
    """

    name: str
    unknown: str
    share: float | None = None
    control: float | None = None
    excess: float | None = None
    excess_interval: Interval | None = None
    auc: float | None = None
    auc_interval: Interval | None = None
    quality: float | None = None
    quality_interval: Interval | None = None

    @classmethod
    def of(cls, report: Report, name: str) -> ModelRow:
        """The row of a report.

        A broken model has no figures of memorization: those of its few whole pictures would be
        taken for the model's.
        """
        headline, quality = report.headline, report.headline_quality
        attack = report.membership[0] if report.membership else None
        broken = report.generated.is_broken
        known = headline.cannot_say is None and headline.excess is not None and not broken
        return cls(
            name,
            "" if known else "broken" if broken else "cannot say",
            *(
                (headline.share, headline.control, headline.excess, headline.excess_interval)
                if known
                else (None, None, None, None)
            ),
            *((attack.auc, attack.auc_interval) if attack else (None, None)),
            *((quality.value, quality.interval) if quality else (None, None)),
        )

    def cells(self) -> dict[str, str]:
        """The row as text, by column; "" for what is not known."""
        return {
            "name": self.name,
            "share": self.unknown or _percent(self.share),
            "chance": _percent(self.control),
            "excess": _percent(self.excess),
            "interval": interval(self.excess_interval) if self.excess_interval else "",
            "auc": _with_interval(self.auc, self.auc_interval, ".2f", ".2f"),
            "quality": _with_interval(self.quality, self.quality_interval, ".4g", ".3g"),
        }


def _percent(share: float | None) -> str:
    return "" if share is None else percent(share)


def _with_interval(value: float | None, ends: Interval | None, form: str, form_of_ends: str) -> str:
    if value is None:
        return ""
    words = f"{value:{form}}"
    return (
        words
        if ends is None
        else (f"{words} ({ends[0]:{form_of_ends}} to {ends[1]:{form_of_ends}})")
    )


def interval(ends: Interval) -> str:
    """An interval of shares as percentages."""
    return f"{percent(ends[0])} to {percent(ends[1])}"


def name_of(report: Report) -> str:
    """A model's name, with its round where it is one of several."""
    target = report.target
    return target.name if target.round is None else f"{target.name}, round {target.round}"


def tone(report: Report) -> str:
    """The colour of the verdict: alarm, calm, or neither."""
    ends = report.headline.excess_interval
    if ends is None or report.generated.is_broken:
        return ""
    return "alarm" if ends[0] > 0 else "calm"


def uncalibrated_figures(report: Report) -> list[tuple[str, str, float]]:
    """The figures that the authors of the measures report: statistic, name and value of each."""
    return [
        (measure.statistic, name, value)
        for measure in report.memorization
        for name, value in sorted(measure.figures.items())
    ]


def facts_of(report: Report) -> list[tuple[str, str]]:
    """The circumstances of an audit, by name; unknown ones are left out."""
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
        ("versions", ", ".join(f"{k} {v}" for k, v in sorted(report.versions.items()))),
        ("took", f"{report.seconds:.0f} s"),
    ]
    return [(name, value) for name, value in facts if value]


def _mitigation(settings: Mapping[str, Any]) -> str:
    """The mitigation in words; "" where it is not known."""
    if not settings:
        return ""
    return "; ".join(one.short for one in measures_of(settings)) or "none: plain training"
