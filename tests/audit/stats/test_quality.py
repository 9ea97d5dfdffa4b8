"""Distances of distributions against formulas written out plainly."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.linalg import sqrtm

from memshield.audit.stats.quality import frechet_distance, kernel_distance, precision_recall

Floats = npt.NDArray[np.float64]
BUDGETS = (1, 30_000, 2**30)


def sets(n: int, m: int, width: int, seed: int = 0, shift: float = 0.3) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, width)), rng.normal(size=(m, width)) * 1.2 + shift


def plain_kid(real: Floats, generated: Floats) -> float:
    def kernel(a: Floats, b: Floats) -> float:
        product = sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))
        return float((product / len(a) + 1) ** 3)

    n, m = len(real), len(generated)
    inside = sum(kernel(real[i], real[j]) for i in range(n) for j in range(n) if i != j)
    outside = sum(kernel(generated[i], generated[j]) for i in range(m) for j in range(m) if i != j)
    cross = sum(kernel(a, b) for a in real for b in generated)
    return inside / (n * (n - 1)) + outside / (m * (m - 1)) - 2 * cross / (n * m)


def test_kernel_distance_equals_the_formula() -> None:
    for seed, (n, m, width) in enumerate([(3, 3, 1), (7, 12, 5), (20, 9, 3)]):
        real, generated = sets(n, m, width, seed)
        expected = plain_kid(real, generated)
        for memory in BUDGETS:
            found = kernel_distance(real, generated, memory)
            assert found.value == pytest.approx(expected, rel=1e-10)
            assert (found.real, found.generated) == (n, m)


def test_error_of_the_kernel_distance_is_the_jackknife() -> None:
    real, generated = sets(9, 14, 4)
    variance = 0.0
    for rows, fixed, first in ((real, generated, True), (generated, real, False)):
        without = []
        for i in range(len(rows)):
            fewer = np.delete(rows, i, axis=0)
            without.append(plain_kid(fewer, fixed) if first else plain_kid(fixed, fewer))
        variance += (len(rows) - 1) * float(np.var(without))
    found = kernel_distance(real, generated, 2000)
    assert found.error == pytest.approx(math.sqrt(variance), rel=1e-9)
    half = 1.959964 * found.error
    assert found.interval == pytest.approx((found.value - half, found.value + half), rel=1e-6)


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_kernel_distance_has_no_bias_and_its_interval_covers(shift: float) -> None:
    """500 draws; the truth is the mean over them, or 0 for equal distributions."""
    rng = np.random.default_rng(1)
    found = [
        kernel_distance(rng.normal(size=(40, 4)), rng.normal(size=(60, 4)) + shift)
        for _ in range(500)
    ]
    values = np.array([one.value for one in found])
    truth = float(values.mean()) if shift else 0.0
    assert abs(values.mean() - truth) <= 4 * values.std() / math.sqrt(500)
    inside = np.mean([one.interval[0] <= truth <= one.interval[1] for one in found])
    assert inside >= 0.92
    # On the large side, but of the right size.
    errors = math.sqrt(np.mean([one.error**2 for one in found]))
    assert 0.95 <= errors / values.std() <= 2.0


@pytest.mark.parametrize(("n", "m", "width"), [(50, 80, 6), (500, 400, 30), (200, 200, 1)])
def test_frechet_distance_equals_the_formula(n: int, m: int, width: int) -> None:
    real, generated = sets(n, m, width)
    real, generated = real @ np.diag(np.geomspace(1, 0.01, width)), generated
    first, second = np.atleast_2d(np.cov(real.T)), np.atleast_2d(np.cov(generated.T))
    shift = np.square(real.mean(axis=0) - generated.mean(axis=0)).sum()
    naive = shift + np.trace(first + second - 2 * sqrtm(first @ second).real)
    for memory in BUDGETS:
        found = frechet_distance(real, generated, memory)
        assert found.value == pytest.approx(naive, rel=1e-8)
        assert (found.real, found.generated, found.features, found.note) == (n, m, width, None)


def test_frechet_distance_of_two_normal_distributions() -> None:
    """Known without sampling for axes by themselves: sum of (mean)^2 + (s_1 - s_2)^2."""
    rng = np.random.default_rng(2)
    real = rng.normal(size=(200_000, 3))
    generated = rng.normal(size=(200_000, 3)) * [1, 2, 3] + [1, 0, 0]
    assert frechet_distance(real, generated).value == pytest.approx(1 + 0 + 1 + 4, rel=0.02)


def test_frechet_distance_with_fewer_images_than_features() -> None:
    """Singular covariances, where sqrtm loses digits or turns complex."""
    real, generated = sets(20, 30, 60)
    found = frechet_distance(real, generated)
    # The roots of rank-deficient covariances by the singular values of the centred rows.
    a = (real - real.mean(axis=0)) / math.sqrt(19)
    b = (generated - generated.mean(axis=0)) / math.sqrt(29)
    overlap = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    shift = np.square(real.mean(axis=0) - generated.mean(axis=0)).sum()
    expected = shift + np.square(a).sum() + np.square(b).sum() - 2 * overlap
    assert found.value == pytest.approx(expected, rel=1e-9)
    assert found.note is not None
    assert "20 pictures in 60 dimensions" in found.note
    assert frechet_distance(real, real).value == pytest.approx(0.0, abs=1e-9)
    constant = np.repeat(real[:1], 5, axis=0)
    assert frechet_distance(constant, constant).value == pytest.approx(0.0, abs=1e-9)


def plain_precision(real: Floats, generated: Floats, k: int) -> float:
    radii = []
    for i, row in enumerate(real):
        others = np.delete(real, i, axis=0)
        radii.append(np.sort(np.square(others - row).sum(axis=1))[k - 1])
    inside = [
        any(
            np.square(row - other).sum() <= radius
            for other, radius in zip(real, radii, strict=True)
        )
        for row in generated
    ]
    return float(np.mean(inside))


@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_recall_equal_the_definition(k: int) -> None:
    for seed in range(4):
        shift = float(np.random.default_rng(seed).choice([0.3, 1.0, 2.0]))
        pair = sets(60, 45, 3, seed, shift)
        real, generated = (x.astype(np.float32) for x in pair)
        wide = real.astype(np.float64), generated.astype(np.float64)
        for memory in (30_000, 2**30):
            found = precision_recall(real, generated, k, memory)
            assert found.precision.share == pytest.approx(plain_precision(*wide, k))
            assert found.recall.share == pytest.approx(plain_precision(wide[1], wide[0], k))
            assert (found.precision.total, found.recall.total, found.k) == (45, 60, k)


def test_copies_lie_in_the_manifold_of_their_sources() -> None:
    """Also where a source exists so often that its radius is 0."""
    rng = np.random.default_rng(3)
    real = (1000 + rng.normal(size=(40, 50))).astype(np.float32)
    real[:5] = real[0]
    found = precision_recall(real, real[[0, 0, 1, 20, 30]])
    assert found.precision.share == 1.0
    far = precision_recall(real, real + 100)
    assert (far.precision.count, far.recall.count) == (0, 0)


@pytest.mark.parametrize("measure", [kernel_distance, frechet_distance, precision_recall])
def test_results_are_plain_and_bad_rows_are_refused(measure: Callable[..., Any]) -> None:
    real, generated = (x.astype(np.float32) for x in sets(10, 12, 3))
    json.dumps(dataclasses.asdict(measure(real, generated)))
    for value in (np.nan, np.inf):
        bad = generated.copy()
        bad[4, 1] = value
        with pytest.raises(ValueError, match="generated: row 4"):
            measure(real, bad)
        with pytest.raises(ValueError, match="real: row 4"):
            measure(bad, real)
    for wrong in (generated[:, :2], generated[0], generated[:, :, None]):
        with pytest.raises(ValueError, match="must be"):
            measure(real, wrong)
    with pytest.raises(ValueError, match="generated: needs at least"):
        measure(real, generated[:1])
