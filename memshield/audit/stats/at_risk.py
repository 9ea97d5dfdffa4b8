"""Which training pictures are given back most often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class AtRisk:
    """A duplicate group of training pictures that generated pictures repeat.

    Attributes:
        group: its number.
        count: generated pictures beyond the threshold whose nearest training picture is in it.
        index: training picture of the group that is the nearest most often.
        copies: training pictures in the group.
        draws: how often pictures of the group were drawn in training, None where not known.
        skips: how often of these they were skipped.
    """

    group: int
    count: int
    index: int
    copies: int
    draws: int | None
    skips: int | None


def most_at_risk(
    nearest: npt.ArrayLike,
    beyond: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    draws: npt.ArrayLike | None = None,
    skips: npt.ArrayLike | None = None,
    limit: int | None = None,
) -> list[AtRisk]:
    """Groups by how many generated pictures repeat them, most first, then by group number.

    Args:
        nearest: [Q] nearest training picture of every generated picture.
        beyond: [Q] whether the generated picture is beyond the threshold.
        groups: [N] duplicate group of every training picture.
        draws, skips: [N] counts of every training picture.
        limit: groups to name at most.

    Raises:
        ValueError: shapes do not fit, or a picture beyond the threshold has no neighbour in [0, N).
    """
    index, passed, group = np.asarray(nearest), np.asarray(beyond, np.bool_), np.asarray(groups)
    if index.shape != passed.shape or index.ndim != 1:
        raise ValueError(f"nearest and beyond: one each, are {index.shape} and {passed.shape}")
    count = len(group)
    hit = index[passed]
    if ((hit < 0) | (hit >= count)).any():
        raise ValueError(f"nearest: must lie in 0 to {count - 1}")
    names, code = np.unique(group, return_inverse=True)
    times = np.bincount(hit, minlength=count)
    hits = np.bincount(code, weights=times).astype(np.int64)
    # By group, and in it by how often; the first of each group is its most repeated picture.
    order = np.lexsort((np.arange(count), -times, code))
    first = order[np.searchsorted(code[order], np.arange(len(names)))]
    copies = np.bincount(code)
    drawn, skipped = _sums("draws", draws, code), _sums("skips", skips, code)
    most = np.lexsort((names, -hits))[: np.count_nonzero(hits)][:limit]
    return [
        AtRisk(
            group=int(names[i]),
            count=int(hits[i]),
            index=int(first[i]),
            copies=int(copies[i]),
            draws=None if drawn is None else int(drawn[i]),
            skips=None if skipped is None else int(skipped[i]),
        )
        for i in most
    ]


def _sums(
    name: str, values: npt.ArrayLike | None, code: npt.NDArray[np.int64]
) -> npt.NDArray[Any] | None:
    """Sum of values [N] over each group, exact for counts up to 2^53."""
    if values is None:
        return None
    array = np.asarray(values)
    if array.shape != code.shape or array.dtype.kind not in "iu":
        raise ValueError(f"{name}: must be {len(code)} integers, are {array.dtype} {array.shape}")
    return np.bincount(code, weights=array)
