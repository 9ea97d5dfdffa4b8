"""Figures of membership inference against scikit-learn and plain counting."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import roc_auc_score

from memshield.audit.stats.auc import separation

Floats = npt.NDArray[np.float64]


def scores(seed: int) -> tuple[Floats, Floats]:
    """Scores of members and held-out pictures; every other case has many ties."""
    rng = np.random.default_rng(seed)
    n, m = rng.integers(1, 300, 2)
    members, held_out = rng.normal(size=n) + rng.uniform(-1, 2), rng.normal(size=m)
    if seed % 2:
        members, held_out = np.round(members), np.round(held_out)
    return members, held_out


def plain_auc(members: Floats, held_out: Floats) -> float:
    truth = np.repeat([1, 0], [len(members), len(held_out)])
    return float(roc_auc_score(truth, np.concatenate([members, held_out])))


def plain_tpr(members: Floats, held_out: Floats, passing: int) -> float:
    """The share above the lowest held-out score that fewer than so many others pass."""
    threshold = float(np.sort(held_out)[::-1][passing - 1])
    return sum(float(score) > threshold for score in members) / len(members)


@pytest.mark.parametrize("seed", range(40))
def test_equals_plain_counting(seed: int) -> None:
    members, held_out = scores(seed)
    found = separation(members, held_out, np.random.default_rng(0), repeats=2)
    assert found.auc == pytest.approx(plain_auc(members, held_out), abs=1e-12)
    assert (found.members, found.held_out) == (len(members), len(held_out))
    if len(held_out) < 99:
        assert (found.tpr, found.tpr_interval) == (None, None)
        assert found.note is not None
        return
    assert found.note is None
    assert found.tpr is not None
    assert found.tpr_interval is not None
    assert found.tpr == plain_tpr(members, held_out, (len(held_out) + 1) // 100)
    assert found.tpr_interval[0] <= found.tpr <= found.tpr_interval[1]


def test_bootstrap_equals_a_plain_one() -> None:
    members, held_out = scores(1)
    found = separation(members, held_out, np.random.default_rng(7), repeats=100)
    generator = np.random.default_rng(7)
    figures = []
    for _ in range(100):
        some = members[generator.integers(0, len(members), len(members))]
        others = held_out[generator.integers(0, len(held_out), len(held_out))]
        figures.append(plain_auc(some, others))
    low, high = np.percentile(figures, [2.5, 97.5])
    assert found.auc_interval == pytest.approx((low, high))
    again = separation(members, held_out, np.random.default_rng(7), repeats=100)
    assert again == found


def test_interval_of_the_auc_covers() -> None:
    """Two normal distributions one apart: the AUC is Phi(1 / sqrt 2)."""
    rng = np.random.default_rng(3)
    truth = 0.5 * (1 + math.erf(0.5))
    inside = 0
    for _ in range(200):
        found = separation(rng.normal(size=100) + 1, rng.normal(size=150), rng, repeats=200)
        inside += found.auc_interval[0] <= truth <= found.auc_interval[1]
    assert 0.89 <= inside / 200 <= 0.99


@pytest.mark.parametrize(("held_out", "shift"), [(100, 0.0), (100, 0.5), (300, 0.5)])
def test_what_is_found_at_one_percent_is_neither_flattered_nor_surer_than_it_is(
    held_out: int, shift: float
) -> None:
    """Two normal distributions: the share above the threshold that 1 % of the lower one pass."""
    rng = np.random.default_rng(6)
    normal = NormalDist()
    truth = 1 - normal.cdf(normal.inv_cdf(0.99) - shift)
    points, inside = [], 0
    for _ in range(300):
        found = separation(rng.normal(size=1000) + shift, rng.normal(size=held_out), rng, 1)
        assert found.tpr is not None
        assert found.tpr_interval is not None
        points.append(found.tpr)
        inside += found.tpr_interval[0] <= truth <= found.tpr_interval[1]
    assert np.mean(points) == pytest.approx(truth, rel=0.25)
    assert inside / 300 >= 0.95


def test_extremes() -> None:
    rng = np.random.default_rng(4)
    perfect = separation(np.arange(2.0, 102), np.arange(-100.0, 0), rng, repeats=10)
    assert (perfect.auc, perfect.tpr) == (1.0, 1.0)
    useless = separation([1.0] * 100, [1.0] * 100, rng, repeats=10)
    assert (useless.auc, useless.tpr) == (0.5, 0.0)
    assert useless.auc_interval == (0.5, 0.5)


def test_what_is_refused() -> None:
    rng = np.random.default_rng(5)
    for members, held_out, match in (
        ([1.0, np.nan], [1.0], "members"),
        ([1.0], [np.nan], "held_out"),
        ([], [1.0], "members"),
        ([1.0], [], "held_out"),
    ):
        with pytest.raises(ValueError, match=match):
            separation(members, held_out, rng)
