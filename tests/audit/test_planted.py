"""Planted copies are named with their sources, and fresh pictures no more often than by chance."""

from __future__ import annotations

import numpy as np
import pytest

from memshield.audit.search.neighbours import nearest
from memshield.audit.stats.calibration import calibrate
from memshield.audit.stats.memorization import distance_ratio
from tests.audit.pictures import KINDS, smooth_fields
from tests.bench.planted import Outcome, look_for_copies


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return look_for_copies(training=2000, held_out=500, generated=1000, seed=0)


def test_copies_are_planted(outcome: Outcome) -> None:
    """The test itself: of the kinds, in the numbers, among fresh pictures."""
    planted = outcome.planted
    assert len(planted.pictures) == 1000
    assert {kind: int((planted.kind == kind).sum()) for kind in KINDS} == {
        "exact": 37,
        "mirrored": 20,
        "noised": 20,
        "jpeg": 20,
    }
    copies = planted.source >= 0
    assert copies.sum() == 97 == len(np.unique(planted.source[copies]))
    exact = outcome.neighbours.distance[:, 0] == 0
    np.testing.assert_array_equal(exact, (planted.kind == "exact") | (planted.kind == "mirrored"))


def test_every_copy_is_named_with_its_source(outcome: Outcome) -> None:
    assert {kind: outcome.named_with_source(kind) for kind in KINDS} == KINDS


def test_fresh_pictures_are_named_no_more_often_than_chance_allows(outcome: Outcome) -> None:
    assert outcome.fresh_named() <= outcome.by_chance.chance_count
    assert outcome.by_chance.p_value > 0.01


def test_one_half_of_the_held_out_pictures_against_the_other(outcome: Outcome) -> None:
    """250 a half, so at 5 %; and 300 a half at 1 %."""
    rng = np.random.default_rng(1)
    training, held_out = smooth_fields(1000, rng, 16), smooth_fields(600, rng, 16)
    ratio = distance_ratio(nearest(held_out, training, mirrored=True).distance)
    many = calibrate(ratio[:300], ratio[300:], "low"), calibrate(ratio[300:], ratio[:300], "low")
    for halves, level in ((outcome.halves, 0.05), (many, 0.01)):
        for half in halves:
            assert half.threshold is not None
            assert half.excess is not None
            assert half.threshold.level == level
            assert half.excess.p_value > 0.01
