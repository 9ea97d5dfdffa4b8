"""Intervals against SciPy or their formula, a published example, and their own coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest, norm

from memshield.audit.stats.intervals import clopper_pearson, difference, numbers, share_of, wilson


def wilson_twin(count: int, total: int, confidence: float) -> tuple[float, float]:
    z = norm.ppf((1 + confidence) / 2)
    share = count / total
    middle = share + z * z / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return (middle - half) / (1 + z * z / total), (middle + half) / (1 + z * z / total)


@pytest.mark.parametrize("total", [1, 2, 7, 40, 1000])
def test_intervals_of_shares_equal_a_twin(total: int) -> None:
    for count in range(0, total + 1, max(1, total // 40)):
        for confidence in (0.95, 0.9):
            exact = binomtest(count, total).proportion_ci(confidence, method="exact")
            ours = clopper_pearson(count, total, confidence)
            assert ours == pytest.approx((exact.low, exact.high), abs=1e-12)
            twin = wilson_twin(count, total, confidence)
            assert wilson(count, total, confidence) == pytest.approx(twin, abs=1e-12)


def test_clopper_pearson_covers_at_least_as_often_as_it_says() -> None:
    total = 30
    intervals = [clopper_pearson(count, total) for count in range(total + 1)]
    for share in np.linspace(0.001, 0.999, 99):
        inside = [low <= share <= high for low, high in intervals]
        assert binom.pmf(np.arange(total + 1), total, share)[inside].sum() >= 0.95


def test_difference_equals_the_published_example() -> None:
    """56 of 70 and 48 of 80: 0.0524 to 0.3339, Newcombe 1998, table II, method 10."""
    found = difference(56 / 70, wilson(56, 70), 48 / 80, wilson(48, 80))
    assert found == pytest.approx((0.0524, 0.3339), abs=5e-5)
    turned = difference(48 / 80, wilson(48, 80), 56 / 70, wilson(56, 70))
    assert turned == pytest.approx((-found[1], -found[0]))


def test_share_of() -> None:
    share = share_of(np.array([True, False, True, True]))
    assert (share.count, share.total, share.share) == (3, 4, 0.75)
    assert share.interval == clopper_pearson(3, 4)


def test_what_is_refused() -> None:
    for count, total in ((0, 0), (-1, 3), (4, 3)):
        for interval in (clopper_pearson, wilson):
            with pytest.raises(ValueError, match="count"):
                interval(count, total)
    with pytest.raises(ValueError, match="count"):
        share_of(np.array([], np.bool_))
    with pytest.raises(ValueError, match="x: 2 values are not numbers"):
        numbers("x", [1.0, math.nan, math.nan])
    for wrong in ([], 1.0, [[1.0]]):
        with pytest.raises(ValueError, match="x: must have"):
            numbers("x", wrong)
