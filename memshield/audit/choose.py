"""The round to keep: the best quality under a budget of memorization."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memshield.audit.report import Interval, Report, percent


@dataclass(frozen=True)
class Choice:
    """A round, and why.

    Attributes:
        place: in the sequence of reports.
        within: whether it keeps to the budget.
        reason: in words.
    """

    place: int
    within: bool
    reason: str


def excess_of(report: Report, alpha: float | None = None) -> float | None:
    """Share of pictures given back beyond chance; None where the audit cannot say.

    Args:
        report: of an audit.
        alpha: the excess of MQ(alpha), the paper's fixed threshold, over held-out pictures
            instead; a grid point of the curve, 0.00 to 1.00.
    """
    if alpha is None:
        return report.headline.excess
    for point in report.curve:
        if round(point.alpha, 2) == round(alpha, 2):
            return point.share - point.control
    return None


def is_over(report: Report, budget: float, alpha: float | None = None) -> bool:
    """Whether a model gives back more than a budget, and more than chance explains.

    With few held-out pictures the excess of a model that memorizes nothing is often some percent,
    in every round alike: it is the threshold's own error, which the interval holds.

    Args:
        report: of an audit.
        budget: largest excess, a share.
        alpha: see `excess_of`; an excess at a fixed threshold has no interval.
    """
    interval = report.headline.excess_interval if alpha is None else None
    excess = excess_of(report, alpha)
    return excess is not None and exceeds(budget, excess, interval)


def exceeds(budget: float, excess: float, interval: Interval | None) -> bool:
    """The rule of `is_over`, for an excess with its interval."""
    return excess > budget and (interval is None or interval[0] > 0)


def choose(reports: Sequence[Report], budget: float, alpha: float | None = None) -> Choice:
    """The best quality (headline measure) among those within the budget.

    Where none is, the one that gives the least back beyond chance. Where no audit can say how
    much is given back, the last one.

    Args:
        reports: of one run's rounds, in order, or of several models.
        budget: largest excess, a share.
        alpha: see `excess_of`.
    """
    said = [
        (place, excess)
        for place, report in enumerate(reports)
        if (excess := excess_of(report, alpha)) is not None and not report.generated.is_broken
    ]
    if not said:
        return Choice(len(reports) - 1, False, "no audit can say how much is given back")
    within = [one for one in said if not is_over(reports[one[0]], budget, alpha)]
    if not within:
        place, excess = min(said, key=lambda one: one[1])
        reason = (
            f"none is within the budget of {percent(budget)}; the least that one gives back beyond "
            f"chance is {percent(excess)}"
        )
        return Choice(place, False, reason)
    place, excess = min(within, key=lambda one: (_badness(reports[one[0]]), -one[0]))
    quality = reports[place].headline_quality
    beyond = f"{percent(excess) if excess > 0 else 'nothing'} beyond chance"
    if quality is None:
        return Choice(place, True, f"{beyond}; no measure of quality was taken")
    reason = (
        f"best {quality.measure} ({quality.value:.4g}, {quality.space}) within the budget of "
        f"{percent(budget)}: {beyond}"
    )
    if excess > budget:
        reason += ", which chance may explain"
    return Choice(place, True, reason)


def _badness(report: Report) -> float:
    quality = report.headline_quality
    if quality is None:
        return 0.0
    return quality.value if quality.better == "lower" else -quality.value
