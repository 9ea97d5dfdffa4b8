"""Measures of memorization by hand and against naive twins."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from memshield.audit.stats.intervals import clopper_pearson
from memshield.audit.stats.memorization import (
    authenticity,
    distance_ratio,
    memorized_quantity,
    second_ratio,
    similarities,
    similarity,
)

INF = math.inf


def test_distance_ratio_by_hand() -> None:
    distance = [[1.0, 4.0, 9.0], [0.0, 4.0, 4.0], [0.0, 0.0, 0.0], [4.0, 4.0, INF], [3.0, INF, INF]]
    squared = [1 / (14 / 3), 0.0, 0.0, 1.0, 1.0]
    plain = [1 / 2, 0.0, 0.0, 1.0, 1.0]
    np.testing.assert_allclose(distance_ratio(distance), squared)
    np.testing.assert_allclose(distance_ratio(distance, squared=False), plain)
    np.testing.assert_allclose(distance_ratio([[1.0, 3.0, 100.0]], over=2), [0.5])


def test_distance_ratio_is_over_fifty() -> None:
    distance = np.sort(np.random.default_rng(0).random((20, 80)), axis=1)
    naive = [row[0] / (sum(row[:50]) / 50) for row in distance.tolist()]
    np.testing.assert_allclose(distance_ratio(distance), naive)


def test_second_ratio_by_hand() -> None:
    distance = [[1.0, 16.0], [0.0, 1.0], [0.0, 0.0], [4.0, 4.0]]
    np.testing.assert_allclose(second_ratio(distance), [0.25, 0.0, 0.0, 1.0])


def test_distances_that_are_refused() -> None:
    for measure in (distance_ratio, second_ratio):
        for wrong in ([[1.0, math.nan]], [[2.0, 1.0]], [[-1.0, 1.0]], [[INF, INF]], [1.0, 2.0]):
            with pytest.raises(ValueError, match="distance"):
                measure(wrong)
    for alone in ([[1.0]], [[1.0, INF]]):
        assert distance_ratio(alone) == [1.0]
        with pytest.raises(ValueError, match="needs 2 neighbours"):
            second_ratio(alone)


def test_memorized_quantity() -> None:
    """Below alpha, not at it; exact copies are below every alpha but 0."""
    found = memorized_quantity([0.0, 0.0, 1e-5, 0.1, 0.25, 1.0], [0.0, 1e-6, 0.1, 0.2, 0.5, 1.0])
    assert found.count == (0, 2, 3, 4, 5, 5)
    assert found.share == tuple(count / 6 for count in found.count)
    assert found.interval == tuple(clopper_pearson(count, 6) for count in found.count)
    json.dumps(dataclasses.asdict(found))
    whole = memorized_quantity(np.random.default_rng(1).random(1000))
    assert (whole.alpha[0], whole.alpha[-1], len(whole.alpha)) == (0.0, 1.0, 101)
    assert list(whole.count) == sorted(whole.count)
    with pytest.raises(ValueError, match="ratio"):
        memorized_quantity([0.5, math.nan])


def test_similarity_is_the_dot_product() -> None:
    rows = np.random.default_rng(2).normal(size=(2, 30, 8))
    a, b = rows / np.linalg.norm(rows, axis=2, keepdims=True)
    np.testing.assert_allclose(similarity(np.square(a - b).sum(axis=1)), (a * b).sum(axis=1))
    with pytest.raises(ValueError, match="distance"):
        similarity([0.1, math.nan])


def test_similarities_by_hand() -> None:
    found = similarities([0.1, 0.5, 0.6, 0.9, 1.0], [0.2, 0.7])
    assert (found.similar.count, found.background_similar.count) == (3, 1)
    assert found.percentiles == pytest.approx((0.9, 0.96, 0.98))
    assert found.background_percentiles == pytest.approx((0.575, 0.65, 0.675))
    json.dumps(dataclasses.asdict(found))
    for wrong in ([0.1, math.nan], []):
        with pytest.raises(ValueError, match="background"):
            similarities([0.1], wrong)


def test_authenticity_by_hand() -> None:
    """As far as the training picture is from its own nearest: not authentic."""
    found = authenticity([0.0, 1.0, 2.0, 3.0], [0.5, 1.0, 1.0, 4.0])
    assert (found.count, found.total) == (1, 4)
    with pytest.raises(ValueError, match="one each"):
        authenticity([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="own"):
        authenticity([1.0], [math.nan])
