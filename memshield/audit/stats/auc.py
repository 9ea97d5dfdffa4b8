"""How well scores tell members from held-out pictures: membership inference."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from memshield.audit.stats.intervals import CONFIDENCE, Interval, numbers

Ints = npt.NDArray[np.int64]
FALSE_POSITIVES = 0.01
"""Share of held-out pictures that may be called members."""


@dataclass(frozen=True)
class Separation:
    """Figures of an attack that calls a picture a member if its score is high.

    Attributes:
        members, held_out: scores.
        auc: probability that a member scores above a held-out picture, ties counted half.
        auc_interval: 95 %, percentiles of the bootstrap.
        tpr: largest share of members found while at most 1 % of held-out pictures are called
            members. No point between two thresholds is made up.
        tpr_interval: 95 %, percentiles of the bootstrap.
        fpr: share of held-out pictures called members there.
        note: what to keep in mind, or None.
    """

    members: int
    held_out: int
    auc: float
    auc_interval: Interval
    tpr: float
    tpr_interval: Interval
    fpr: float
    note: str | None


def separation(
    members: npt.ArrayLike,
    held_out: npt.ArrayLike,
    generator: np.random.Generator,
    repeats: int = 1000,
) -> Separation:
    """AUC, and true positives at 1 % false positives, with bootstrap intervals.

    The bootstrap draws members and held-out pictures anew, each from their own.

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
    figures = np.empty((repeats, 2))
    for i in range(repeats):
        drawn = _curve(
            code[generator.integers(0, n, n)], code[n + generator.integers(0, m, m)], len(names)
        )
        figures[i] = _auc(*drawn), _best(*drawn)[1]
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(figures, [tail, 100 - tail], axis=0)
    fpr, tpr = _best(*curve)
    note = None
    if m * FALSE_POSITIVES < 1:
        note = f"{m} held-out pictures: a false positive is more than 1 % of them, none is allowed"
    return Separation(
        members=n,
        held_out=m,
        auc=_auc(*curve),
        auc_interval=(float(low[0]), float(high[0])),
        tpr=tpr,
        tpr_interval=(float(low[1]), float(high[1])),
        fpr=fpr,
        note=note,
    )


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


def _best(false: Ints, true: Ints) -> tuple[float, float]:
    """(fpr, tpr) of the lowest threshold that keeps to the false positives."""
    allowed = math.floor(FALSE_POSITIVES * int(false[-1]) + 1e-9)
    place = np.searchsorted(false, allowed, side="right") - 1
    return float(false[place] / false[-1]), float(true[place] / true[-1])
