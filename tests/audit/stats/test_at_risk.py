"""The list of training pictures that are given back most often."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from memshield.audit.stats.at_risk import AtRisk, most_at_risk

GROUPS = [5, 5, 9, 2, 9, 7]
DRAWS = [10, 20, 1, 2, 3, 100]


def test_by_hand() -> None:
    nearest = [0, 1, 1, 2, 3, 4, 5, -1]
    beyond = [True, True, True, True, True, True, False, False]
    found = most_at_risk(nearest, beyond, GROUPS, draws=DRAWS, skips=[1, 0, 0, 0, 4, 0])
    assert found == [
        AtRisk(group=5, count=3, index=1, copies=2, draws=30, skips=1),
        AtRisk(group=9, count=2, index=2, copies=2, draws=4, skips=4),
        AtRisk(group=2, count=1, index=3, copies=1, draws=2, skips=0),
    ]
    assert most_at_risk(nearest, beyond, GROUPS, limit=1) == [AtRisk(5, 3, 1, 2, None, None)]
    assert most_at_risk(nearest, np.zeros(8, np.bool_), GROUPS) == []
    json.dumps([dataclasses.asdict(one) for one in found])


def test_against_counting_one_by_one() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        size, count = int(rng.integers(1, 30)), int(rng.integers(0, 60))
        groups, draws = rng.integers(0, 8, size), rng.integers(0, 9, size)
        nearest, beyond = rng.integers(0, size, count), rng.random(count) < 0.7
        expected = []
        for group in set(groups.tolist()):
            inside = [i for i in range(size) if groups[i] == group]
            hits = [i for i, hit in zip(nearest, beyond, strict=True) if hit and i in inside]
            if hits:
                index = max(inside, key=lambda i: (hits.count(i), -i))
                total = int(draws[inside].sum())
                expected.append(AtRisk(group, len(hits), index, len(inside), total, None))
        expected.sort(key=lambda one: (-one.count, one.group))
        assert most_at_risk(nearest, beyond, groups, draws=draws) == expected


def test_what_is_refused() -> None:
    for nearest in ([-1], [6]):
        with pytest.raises(ValueError, match="nearest"):
            most_at_risk(nearest, [True], GROUPS)
    with pytest.raises(ValueError, match="one each"):
        most_at_risk([1], [True, False], GROUPS)
    with pytest.raises(ValueError, match="draws: must be 6"):
        most_at_risk([1], [True], GROUPS, draws=[1, 2])
    with pytest.raises(ValueError, match="skips"):
        most_at_risk([1], [True], GROUPS, skips=[0.5] * 6)
