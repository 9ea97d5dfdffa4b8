"""Figures of membership inference against scikit-learn and plain counting."""

from __future__ import annotations

import math

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


def plain_tpr(members: Floats, held_out: Floats) -> tuple[float, float]:
    """All thresholds one after the other."""
    best = (0.0, 0.0)
    for threshold in [*members, *held_out]:
        fpr, tpr = float(np.mean(held_out >= threshold)), float(np.mean(members >= threshold))
        if fpr <= 0.01 and (tpr, fpr) > (best[1], best[0]):
            best = fpr, tpr
    return best


@pytest.mark.parametrize("seed", range(40))
def test_equals_plain_counting(seed: int) -> None:
    members, held_out = scores(seed)
    found = separation(members, held_out, np.random.default_rng(0), repeats=2)
    assert found.auc == pytest.approx(plain_auc(members, held_out), abs=1e-12)
    fpr, tpr = plain_tpr(members, held_out)
    assert found.tpr == pytest.approx(tpr)
    assert fpr <= found.fpr <= 0.01
    assert (found.members, found.held_out) == (len(members), len(held_out))
    assert (found.note is not None) == (len(held_out) < 100)


def test_bootstrap_equals_a_plain_one() -> None:
    members, held_out = scores(1)
    found = separation(members, held_out, np.random.default_rng(7), repeats=100)
    generator = np.random.default_rng(7)
    figures = []
    for _ in range(100):
        some = members[generator.integers(0, len(members), len(members))]
        others = held_out[generator.integers(0, len(held_out), len(held_out))]
        figures.append((plain_auc(some, others), plain_tpr(some, others)[1]))
    low, high = np.percentile(figures, [2.5, 97.5], axis=0)
    assert found.auc_interval == pytest.approx((low[0], high[0]))
    assert found.tpr_interval == pytest.approx((low[1], high[1]))
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


def test_extremes() -> None:
    rng = np.random.default_rng(4)
    perfect = separation([2.0, 3.0], [0.0, 1.0], rng, repeats=10)
    assert (perfect.auc, perfect.tpr, perfect.fpr) == (1.0, 1.0, 0.0)
    useless = separation([1.0, 1.0], [1.0, 1.0], rng, repeats=10)
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
