"""How well scores tell members from held-out pictures: membership inference."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from memshield.audit.stats.intervals import CONFIDENCE, Interval, numbers, wilson

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
FALSE_POSITIVES = 0.01
"""Share of pictures like the held-out ones that may be called members."""
LEAST_TOLD = 99
"""Held-out pictures below which no threshold is known to keep to that share."""
_TAIL = 0.05
"""Of the threshold's error, at each end: of simulated intervals 97 to 99 % cover."""


@dataclass(frozen=True)
class Separation:
    """Figures of an attack that calls a picture a member if its score is high.

    Attributes:
        members, held_out: scores.
        auc: probability that a member scores above a held-out picture, ties counted half.
        auc_interval: 95 %, percentiles of the bootstrap.
        tpr: share of members above a threshold that 1 % of new pictures pass, as conformal
            prediction has it (see `calibration.Threshold`); None with too few held-out ones. To
            take the largest share while at most 1 % of these very pictures pass would flatter the
            attack: with a hundred, twice as many.
        tpr_interval: at least 95 %: the Wilson interval of the members above those thresholds that
            1 % may pass after all, by their Beta distributions.
        note: what to keep in mind, or None.
    """

    members: int
    held_out: int
    auc: float
    auc_interval: Interval
    tpr: float | None
    tpr_interval: Interval | None
    note: str | None


def separation(
    members: npt.ArrayLike,
    held_out: npt.ArrayLike,
    generator: np.random.Generator,
    repeats: int = 1000,
) -> Separation:
    """AUC, and true positives at 1 % false positives, with intervals.

    That of the AUC is a bootstrap's, which draws members and held-out pictures anew, each from
    their own.

    Args:
        members: [N] score of every member; higher is more like a member.
        held_out: [M] score of every held-out picture.
        generator: of the bootstrap.
        repeats: of the bootstrap.

    Raises:
        ValueError: NaN, or no scores.
    """
    ours, theirs = numbers("members", members), numbers("held_out", held_out)
    n, m = len(ours), len(theirs)
    # Scores as ranks: equal scores share a threshold.
    names, code = np.unique(np.concatenate([ours, theirs]), return_inverse=True)
    curve = _curve(code[:n], code[n:], len(names))
    areas = np.empty(repeats)
    for i in range(repeats):
        drawn = _curve(
            code[generator.integers(0, n, n)], code[n + generator.integers(0, m, m)], len(names)
        )
        areas[i] = _auc(*drawn)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(areas, [tail, 100 - tail])
    note = None
    if m < LEAST_TOLD:
        note = f"{m} held-out pictures: {LEAST_TOLD} are needed to tell what is found at 1 %"
    return Separation(
        members=n,
        held_out=m,
        auc=_auc(*curve),
        auc_interval=(float(low), float(high)),
        tpr=None if note else _share_above(ours, theirs, _rank(m)),
        tpr_interval=None if note else _interval(ours, theirs),
        note=note,
    )


def _rank(held_out: int) -> int:
    """j: a new picture lies above the j-th largest of m with probability j / (m + 1) <= 1 %."""
    return math.floor(FALSE_POSITIVES * (held_out + 1) + 1e-9)


def _share_above(members: Floats, held_out: Floats, rank: int) -> float:
    """The share of members above the rank-th largest score of held-out pictures."""
    return float(np.mean(members > np.sort(held_out)[-rank]))


def _interval(members: Floats, held_out: Floats) -> Interval:
    from scipy.stats import beta  # half a second, which most commands need not wait

    n, m = len(members), len(held_out)
    ranks = np.arange(1, m + 1)
    # The share that passes the rank-th largest is a Beta variable.
    surely_fewer = ranks[beta.sf(FALSE_POSITIVES, ranks, m + 1 - ranks) <= _TAIL]
    surely_more = ranks[beta.cdf(FALSE_POSITIVES, ranks, m + 1 - ranks) <= _TAIL]
    low, high = 0.0, 1.0
    if len(surely_fewer):
        above = _share_above(members, held_out, int(surely_fewer[-1]))
        low = wilson(round(above * n), n)[0]
    if len(surely_more):
        above = _share_above(members, held_out, int(surely_more[0]))
        high = wilson(round(above * n), n)[1]
    return low, high


def _curve(members: Ints, held_out: Ints, ranks: int) -> tuple[Ints, Ints]:
    """False and true positives [ranks + 1] as the threshold falls, from none to all."""
    positives = []
    for codes in (held_out, members):
        per_rank = np.bincount(codes, minlength=ranks)[::-1]
        positives.append(np.concatenate([[0], np.cumsum(per_rank)]))
    return positives[0], positives[1]


def _auc(false: Ints, true: Ints) -> float:
    """Area under the curve by trapezoids: ties count half (Mann and Whitney, 1947)."""
    twice = np.sum(np.diff(false) * (true[1:] + true[:-1]))
    return float(twice) / (2 * int(false[-1]) * int(true[-1]))
