"""Thresholds by simulation: they hold what they promise, whatever the statistic looks like."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import ndtr
from scipy.stats import betabinom

from memshield.audit.stats.calibration import (
    Excess,
    Threshold,
    calibrate,
    excess_over,
    threshold_of,
)
from memshield.audit.stats.intervals import share_of

Floats = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]

SHAPES: dict[str, Draw] = {
    "even": lambda rng, count: rng.random(count),
    "heavy": lambda rng, count: rng.standard_cauchy(count),
    # Ratios of distances of small pictures: few different values.
    "tied": lambda rng, count: np.round(rng.random(count), 2),
    "mostly zero": lambda rng, count: np.where(rng.random(count) < 0.7, 0.0, rng.random(count)),
}


class Counted:
    """Many calibrations at once: an excess depends on the number beyond, not on the values."""

    def __init__(self) -> None:
        self._of_count: dict[int, Excess] = {}

    def calibrate(self, control: Floats, other: Floats) -> tuple[Threshold, int, Excess]:
        level = 0.01 if len(control) >= 300 else 0.05
        threshold = threshold_of(control, "low", level)
        count = int(threshold.beyond(other).sum())
        if count not in self._of_count:
            found = calibrate(control, other, "low")
            assert found.threshold == threshold
            assert found.beyond is not None and found.beyond.count == count
            assert found.excess is not None
            self._of_count[count] = found.excess
        return threshold, count, self._of_count[count]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("controls", [60, 299, 300])
def test_other_half_passes_no_more_than_chance_allows(shape: str, controls: int) -> None:
    """Fresh pictures from where the held-out ones are from, 1,000 times."""
    rng = np.random.default_rng(0)
    counts, over, small_p, repeats, fresh = [], 0, 0, 1000, 500
    counted = Counted()
    for _ in range(repeats):
        control, other = SHAPES[shape](rng, controls), SHAPES[shape](rng, fresh)
        _, count, excess = counted.calibrate(control, other)
        counts.append(count)
        over += count > excess.chance_count
        small_p += excess.p_value <= 0.05
    level = 0.01 if controls >= 300 else 0.05
    rank = math.floor(level * (controls + 1))
    chance = betabinom(fresh, rank, controls + 1 - rank)
    # Four standard errors.
    margin = 4 * chance.std() / math.sqrt(repeats)
    assert chance.mean() <= level * fresh
    assert np.mean(counts) <= chance.mean() + margin
    assert over / repeats <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / repeats)
    assert small_p / repeats <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / repeats)
    if shape in ("even", "heavy"):
        # Without ties it is exact, and not only on the safe side.
        assert np.mean(counts) >= chance.mean() - margin
        assert over / repeats >= chance.sf(chance.ppf(0.95)) - 4 * math.sqrt(0.05 / repeats)
        assert np.var(counts) == pytest.approx(chance.var(), rel=0.25)


@pytest.mark.parametrize("controls", [60, 300])
@pytest.mark.parametrize("copies", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("generated", [100, 3000])
def test_intervals_cover(controls: int, copies: float, generated: int) -> None:
    """Normal statistics; generated pictures are copies with much lower values, or like held-out."""
    rng = np.random.default_rng(1)
    inside, chance_inside, repeats = 0, 0, 600
    counted = Counted()
    for _ in range(repeats):
        control = rng.normal(size=controls)
        shift = np.where(rng.random(generated) < copies, 3.0, 0.0)
        threshold, _, excess = counted.calibrate(control, rng.normal(size=generated) - shift)
        by_chance, of_copies = ndtr([threshold.value, threshold.value + 3.0])
        truth = copies * (of_copies - by_chance)
        inside += excess.interval[0] <= truth <= excess.interval[1]
        low, high = threshold.chance_interval
        chance_inside += low <= by_chance <= high
    error = math.sqrt(0.05 * 0.95 / repeats)
    assert abs(chance_inside / repeats - 0.95) <= 4 * error
    assert inside / repeats >= 0.95 - 4 * error


def test_by_hand() -> None:
    control = np.arange(1, 301) / 10  # 0.1 to 30
    found = calibrate(control, [0.05, 0.2, 0.3, 0.31, 40.0], "low")
    assert found.threshold is not None
    assert found.beyond is not None
    assert found.excess is not None
    threshold = found.threshold
    assert (threshold.rank, threshold.controls, threshold.level) == (3, 300, 0.01)
    # The third smallest; what equals it has not passed.
    assert threshold.value == pytest.approx(0.3)
    assert found.beyond.count == 2
    assert threshold.chance == pytest.approx(3 / 301)
    assert found.excess.excess == pytest.approx(2 / 5 - 3 / 301)
    assert found.excess.p_value == pytest.approx(1 - betabinom.cdf(1, 5, 3, 298))
    assert found.reason is None
    json.dumps(dataclasses.asdict(found))


def test_high_side_is_the_mirror_image() -> None:
    rng = np.random.default_rng(2)
    control, generated = rng.normal(size=400), rng.normal(size=200) - 1
    low, high = calibrate(control, generated, "low"), calibrate(-control, -generated, "high")
    assert low.threshold is not None
    assert high.threshold is not None
    assert high.threshold.value == -low.threshold.value
    assert (high.beyond, high.excess) == (low.beyond, low.excess)
    np.testing.assert_array_equal(
        high.threshold.beyond(-generated), low.threshold.beyond(generated)
    )


@pytest.mark.parametrize(
    ("controls", "level"), [(0, None), (59, None), (60, 0.05), (299, 0.05), (300, 0.01)]
)
def test_level_by_held_out_images(controls: int, level: float | None) -> None:
    found = calibrate(np.linspace(0, 1, controls), [0.5], "low")
    if level is None:
        assert [found.threshold, found.beyond, found.excess] == [None] * 3
        assert found.reason is not None
        assert f"{controls} held-out pictures are too few" in found.reason
        assert "60" in found.reason
    else:
        assert found.threshold is not None
        assert found.threshold.level == level
        # Three held-out pictures pass or are the threshold, so it never hangs on a single one.
        assert found.threshold.rank >= 3


def test_nothing_beyond_is_no_excess() -> None:
    threshold = threshold_of(np.linspace(0, 1, 1000), "low", 0.01)
    found = excess_over(threshold, share_of(np.zeros(10_000, np.bool_)))
    assert found.excess < 0
    assert found.interval[0] < found.interval[1] < 0.001
    assert found.p_value == 1.0


def test_held_out_copies_are_pointed_out() -> None:
    """Ratios of 0 among the held-out pictures: nothing can lie below."""
    control = np.concatenate([np.zeros(3), np.linspace(0.1, 1, 297)])
    found = calibrate(control, np.zeros(50), "low")
    assert found.beyond is not None
    assert found.beyond.count == 0
    assert found.reason is not None
    assert "the 3 most extreme held-out values are equal" in found.reason
    assert calibrate(control[1:], np.zeros(50), "low").reason is None


def test_probabilities_far_below_rounding() -> None:
    threshold = threshold_of(np.linspace(0, 1, 1000), "low", 0.01)
    found = excess_over(threshold, share_of(np.ones(200, np.bool_)))
    # All of 200 beyond: prod (10 + i) / (1001 + i).
    logs = [math.log((10 + i) / (1001 + i)) for i in range(200)]
    assert math.log(found.p_value) == pytest.approx(sum(logs))


def test_what_is_refused() -> None:
    good = np.linspace(0, 1, 300)
    bad = np.append(good, np.nan)
    with pytest.raises(ValueError, match="control"):
        calibrate(bad, good, "low")
    with pytest.raises(ValueError, match="generated"):
        calibrate(good, bad, "low")
    with pytest.raises(ValueError, match="generated"):
        calibrate(good, [], "low")
    with pytest.raises(ValueError, match="generated"):
        calibrate(good[:5], bad, "low")
    with pytest.raises(ValueError, match="level"):
        threshold_of(good[:50], "low", 0.01)
    threshold = threshold_of(good, "low", 0.01)
    assert isinstance(threshold, Threshold)
    with pytest.raises(ValueError, match="values"):
        threshold.beyond([np.nan])
