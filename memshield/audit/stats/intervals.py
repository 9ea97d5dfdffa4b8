"""Shares with 95 % intervals, and differences of shares."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]
"""Low and high end, 95 % unless said otherwise."""

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Share:
    """How many of how many.

    Attributes:
        count, total: pictures.
        share: count / total.
        interval: Clopper-Pearson, 95 %.
    """

    count: int
    total: int
    share: float
    interval: Interval


def share_of(passed: npt.NDArray[np.bool_]) -> Share:
    """The share of true values among passed [N], N > 0."""
    count, total = int(np.count_nonzero(passed)), len(passed)
    return Share(count, total, count / max(1, total), clopper_pearson(count, total))


def clopper_pearson(count: int, total: int, confidence: float = CONFIDENCE) -> Interval:
    """Exact interval of a binomial share: never covers less often than it says.

    Clopper and Pearson, Biometrika 26 (1934), 404-413.

    Raises:
        ValueError: not 0 <= count <= total, total > 0.
    """
    from scipy.stats import beta  # half a second, which most commands need not wait

    _check(count, total)
    # In closed form: SciPy's search for the same ends takes twenty times as long, and a curve over
    # alpha needs hundreds of them.
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, count, total - count + 1)) if count > 0 else 0.0
    high = float(beta.ppf(1 - tail, count + 1, total - count)) if count < total else 1.0
    return low, high


def wilson(count: int, total: int, confidence: float = CONFIDENCE) -> Interval:
    """Score interval of a binomial share: covers as often as it says, on average.

    Wilson, Journal of the American Statistical Association 22 (1927), 209-212.

    Raises:
        ValueError: not 0 <= count <= total, total > 0.
    """
    from scipy.stats import binomtest

    _check(count, total)
    ends = binomtest(count, total).proportion_ci(confidence, method="wilson")
    return float(ends.low), float(ends.high)


def difference(
    first: float, first_interval: Interval, second: float, second_interval: Interval
) -> Interval:
    """Interval of first - second from intervals of two independent estimates.

    The square-and-add rule: Newcombe, Statistics in Medicine 17 (1998), 873-890, method 10, with
    Wilson intervals; Zou and Donner, Statistics in Medicine 27 (2008), 1693-1702, with any.
    """
    below = math.hypot(first - first_interval[0], second_interval[1] - second)
    above = math.hypot(first_interval[1] - first, second - second_interval[0])
    return first - second - below, first - second + above


def mean_interval(values: npt.ArrayLike) -> tuple[float, Interval]:
    """A mean and its 95 % interval, mean -+ 1.96 standard errors."""
    from scipy.stats import norm

    array = numbers("values", values)
    mean = float(array.mean())
    error = float(array.std(ddof=1)) / math.sqrt(len(array)) if len(array) > 1 else math.inf
    half = float(norm.ppf((1 + CONFIDENCE) / 2)) * error
    return mean, (mean - half, mean + half)


def numbers(name: str, values: npt.ArrayLike, ndim: int = 1) -> Floats:
    """Values as float64, at least one.

    Raises:
        ValueError: there is NaN, nothing, or another number of dimensions.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != ndim or array.size == 0:
        raise ValueError(f"{name}: must have {ndim} dimensions and values, has {array.shape}")
    if np.isnan(array).any():
        count = int(np.isnan(array).sum())
        raise ValueError(f"{name}: {count} values are not numbers; count and leave them out before")
    return array


def _check(count: int, total: int) -> None:
    if not 0 <= count <= total or total == 0:
        raise ValueError(f"count: must lie in 0 to total > 0, is {count} of {total}")
