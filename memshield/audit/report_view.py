"""A report as data to show: the table of models, a model's name, its tone and its facts.

The page, report.html, the card and the command line render them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from memshield.audit.report import Interval, Report, percent
from memshield.config.buckets import as_text
from memshield.config.mitigation import measures_of
from memshield.quantities import plural


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


class View(Enum):
    """Where models, or rounds, are set side by side."""

    REPORT = "report.html and compare.html"
    PAGE = "an audit on the page, and the card of a published model there"
    ROUNDS = "the rounds of a run on the page"
    CARD = "a published card"
    LINE = "a line of the command line"


@dataclass(frozen=True)
class TableColumn:
    """A column of the table of models.

    Attributes:
        heading: the same in all tables, or by the audit that the table is of.
        cell: the text of a row; "" for what is not known.
        views: that show it.
        explanation: what a reader must know to read it; "" where the heading is enough.
        is_measured: whether an audit has its figure. Without one, only a card shows the column.
    """

    heading: str | Callable[[Report], str]
    cell: Callable[[ModelRow], str]
    views: frozenset[View]
    explanation: str = ""
    is_measured: Callable[[Report], bool] = lambda _: True

    def is_shown(self, view: View, report: Report) -> bool:
        """Whether a view of an audit has this column."""
        return view in self.views and (view is View.CARD or self.is_measured(report))

    def heading_for(self, report: Report) -> str:
        """The heading in a table of an audit."""
        return self.heading if isinstance(self.heading, str) else self.heading(report)


def _percent(share: float | None) -> str:
    return "" if share is None else percent(share)


def _beyond_chance(share: float | None) -> str:
    return "" if share is None else excess_words(share)


def _interval(ends: Interval | None) -> str:
    return "" if ends is None else excess_interval_words(ends)


def _excess(row: ModelRow) -> str:
    share, ends = _beyond_chance(row.excess), _interval(row.excess_interval)
    return share if ends in ("", share) else f"{share} ({ends})"


def _auc(row: ModelRow) -> str:
    return _with_interval(row.auc, row.auc_interval, ".2f", ".2f")


def _quality(row: ModelRow) -> str:
    return _with_interval(row.quality, row.quality_interval, ".4g", ".3g")


def _with_interval(value: float | None, ends: Interval | None, form: str, form_of_ends: str) -> str:
    if value is None:
        return ""
    words = f"{value:{form}}"
    return (
        words
        if ends is None
        else (f"{words} ({ends[0]:{form_of_ends}} to {ends[1]:{form_of_ends}})")
    )


def _measure(report: Report) -> str:
    quality = report.headline_quality
    return "quality" if quality is None else quality.measure


def _measure_and_direction(report: Report) -> str:
    quality = report.headline_quality
    return "quality" if quality is None else f"{quality.measure}, {quality.better} is better"


def _has_attack(report: Report) -> bool:
    return bool(report.membership)


def _has_quality(report: Report) -> bool:
    return report.headline_quality is not None


_GUESSING = "An AUC of 0.5 is guessing."

COLUMNS = (
    TableColumn(
        "given back",
        lambda row: row.unknown or _percent(row.share),
        frozenset({View.REPORT, View.PAGE, View.ROUNDS, View.CARD}),
        "Of two measures in pixels, the one counts that finds more.",
    ),
    TableColumn("by chance", lambda row: _percent(row.control), frozenset({View.CARD})),
    TableColumn(
        "beyond chance", lambda row: _beyond_chance(row.excess), frozenset({View.ROUNDS, View.CARD})
    ),
    TableColumn(
        "95 %", lambda row: _interval(row.excess_interval), frozenset({View.ROUNDS, View.CARD})
    ),
    TableColumn("beyond chance, 95 %", _excess, frozenset({View.PAGE})),
    TableColumn(
        "beyond chance, 95 %", lambda row: _interval(row.excess_interval), frozenset({View.REPORT})
    ),
    TableColumn(
        "beyond chance",
        lambda row: f"{_beyond_chance(row.excess) or row.unknown or 'cannot say':>10}",
        frozenset({View.LINE}),
    ),
    TableColumn(
        "membership inference (AUC)", _auc, frozenset({View.PAGE, View.CARD}), _GUESSING,
        _has_attack,
    ),
    TableColumn(
        _measure,
        lambda row: "" if row.quality is None else f"{row.quality:.4g}",
        frozenset({View.REPORT, View.LINE}),
        is_measured=_has_quality,
    ),
    TableColumn(
        _measure_and_direction,
        _quality,
        frozenset({View.PAGE, View.ROUNDS, View.CARD}),
        is_measured=_has_quality,
    ),
)  # fmt: skip
"""From left to right, after the name. A fact that is worded in two ways has a column of each."""


@dataclass(frozen=True)
class ModelTable:
    """The table of models as text, for a template to render.

    Attributes:
        headings: of the columns after that of the names.
        rows: names, each with its cells.
        explanations: of the columns that need one.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    explanations: tuple[str, ...]

    @classmethod
    def of(cls, models: Iterable[tuple[str, Report]], view: View, report: Report) -> ModelTable:
        """The table of a view.

        Args:
            models: audits, each with its name in the table.
            view: that shows it.
            report: the audit that the table is of; it decides the columns and their headings.
        """
        columns = [column for column in COLUMNS if column.is_shown(view, report)]
        rows = [ModelRow.of(one, name) for name, one in models]
        return cls(
            tuple(column.heading_for(report) for column in columns),
            tuple((row.name, tuple(column.cell(row) for column in columns)) for row in rows),
            tuple(column.explanation for column in columns if column.explanation),
        )


def excess_words(excess: float) -> str:
    """A share beyond chance; below zero it is none, and no negative one."""
    return "none" if excess <= 0 else percent(excess)


def excess_interval_words(ends: Interval) -> str:
    """An interval of a share beyond chance; what lies below zero is none."""
    low, high = ends
    if high <= 0:
        return "none"
    return f"at most {percent(high)}" if low <= 0 else interval(ends)


def interval(ends: Interval) -> str:
    """An interval of shares as percentages."""
    return f"{percent(ends[0])} to {percent(ends[1])}"


def name_of(report: Report) -> str:
    """A model's name, with its round where it is one of several."""
    target = report.target
    return target.name if target.round is None else f"{target.name}, round {target.round}"


def uncalibrated_figures(report: Report) -> list[tuple[str, str, float]]:
    """The figures that the authors of the measures report: statistic, name and value of each.

    There is none of a broken model: those of its few whole pictures would be taken for its own.
    """
    if report.generated.is_broken:
        return []
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
        (
            "training pictures",
            f"{data.training}, {plural(data.duplicate_groups, 'group')} of duplicates",
        ),
        ("held-out pictures", str(data.held_out)),
        ("resolution", f"{data.resolution} px"),
        ("trained on in sizes", as_text(data.buckets).replace(";", "; ")),
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
