"""Early stopping of bands of noise levels: the rule, on losses made up for it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from memshield.audit.watch_record import STANDARD_ERRORS
from memshield.training.level_stops import BandStops, LowestLosses, standard_error

PICTURES = torch.arange(20).repeat_interleave(2)


def losses(*means: float, spread: float = 0.0) -> Tensor:
    """[bands, 40] losses with these means; the same pattern around them every time."""
    pattern = torch.linspace(-1, 1, 40, dtype=torch.float64)
    return torch.stack([mean + spread * pattern for mean in means])


def stops(bands: int = 1, patience: int = 2, zeros: Tensor | None = None) -> BandStops:
    return BandStops(PICTURES.repeat(bands, 1), patience, 0.002, zeros)


def see(found: BandStops, *checks: tuple[float, ...]) -> list[list[int]]:
    return [found.see(losses(*means), step) for step, means in enumerate(checks)]


def test_a_band_stops_when_its_loss_has_risen_in_as_many_checks_as_patience_says() -> None:
    found = stops(patience=2)
    assert see(found, (1.0,), (0.8,), (0.9,), (0.9,)) == [[], [], [], [0]]
    assert found.stopped.tolist() == [3]


def test_a_lower_loss_starts_the_count_anew() -> None:
    found = stops(patience=2)
    assert see(found, (1.0,), (1.1,), (0.9,), (1.0,), (0.8,), (0.9,)) == [[]] * 6


def test_a_flat_loss_never_stops() -> None:
    assert see(stops(), *[(0.5 + 0.0009 * (i % 2),) for i in range(30)]) == [[]] * 30


def test_a_rise_smaller_than_the_gain_does_not_count() -> None:
    assert see(stops(patience=1), (1.0,), (1.0019,), (1.0021,)) == [[], [], [0]]


def test_a_rise_within_the_noise_of_the_check_does_not_count() -> None:
    """The same mean rise, once of all pictures alike and once of some that others make up for."""
    even, uneven = stops(patience=1), stops(patience=1)
    even.see(losses(1.0), 0)
    uneven.see(losses(1.0), 0)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(20, generator=generator, dtype=torch.float64).repeat_interleave(2)
    assert even.see(losses(1.05), 1) == [0]
    assert uneven.see(losses(1.05) + noise - noise.mean(), 1) == []


def test_bands_stop_one_by_one_and_stay_stopped() -> None:
    found = stops(bands=3, patience=1)
    said = see(found, (1, 1, 1), (0.9, 0.9, 0.9), (1.0, 0.8, 0.8), (0.5, 0.9, 0.7), (2, 2, 0.6))
    assert said == [[], [], [0], [1], []]
    assert found.stopped.tolist() == [2, 3, -1]


def test_a_network_that_knows_nothing_is_not_judged() -> None:
    """Its loss rises at first; what counts is a rise after it did better than zeros."""
    zeros = torch.tensor([1.0], dtype=torch.float64)
    checks = [(1.2,), (1.3,), (1.4,), (0.9,), (0.95,)]
    assert see(stops(patience=1, zeros=zeros), *checks) == [[], [], [], [], [0]]
    assert see(stops(patience=1), *checks)[1] == [0]


def test_only_the_lowest_two_that_go_on_may_stop_and_take_those_below_with_them() -> None:
    found = stops(bands=4, patience=1)
    # The third trembles first, then the second rises; after that the third is among the two.
    checks = [(0.9, 0.9, 1.1, 0.9), (0.9, 1.0, 1.1, 0.8), (0.9, 1.0, 1.1, 0.8)]
    assert see(found, (1, 1, 1, 1), *checks) == [[], [], [0, 1], [2]]
    assert found.stopped.tolist() == [2, 2, 3, -1]


def test_a_band_that_never_learned_stops_with_the_next_one_above() -> None:
    zeros = torch.ones(3, dtype=torch.float64)
    found = stops(bands=3, patience=1, zeros=zeros)
    assert see(found, (1.2, 0.9, 1.2), (1.2, 1.0, 1.2)) == [[], [0, 1]]
    assert found.stopped.tolist() == [1, 1, -1]


def test_standard_error_over_clusters() -> None:
    """Against a loop, and against the usual one where every cluster has one value."""
    generator = np.random.default_rng(0)
    values = torch.from_numpy(generator.normal(size=40))
    clusters = torch.from_numpy(generator.integers(0, 7, 40))
    mean = float(values.mean())
    total = 0.0
    for name in range(7):
        total += (
            sum(v - mean for v, c in zip(values.tolist(), clusters, strict=True) if c == name) ** 2
        )
    assert standard_error(values, clusters) == pytest.approx(math.sqrt(total * 7 / 6) / 40)
    alone = standard_error(values, torch.arange(40))
    assert alone == pytest.approx(float(values.std()) / math.sqrt(40))


def test_draws_of_one_picture_say_nothing_of_others() -> None:
    assert standard_error(torch.ones(5), torch.zeros(5)) == math.inf
    assert STANDARD_ERRORS > 0


def test_state_goes_on_where_it_was() -> None:
    first, second = stops(patience=2), stops(patience=2)
    see(first, (1.0,), (0.8,), (0.9,))
    second.load_state_dict({name: t.clone() for name, t in first.state_dict().items()})
    assert second.see(losses(0.9), 3) == [0]


def test_the_error_of_a_check_is_that_of_its_difference_to_the_lowest_before() -> None:
    found = LowestLosses(PICTURES.repeat(2, 1))
    assert found.see(losses(1.0, 1.0)) == [0.0, 0.0]
    lower = losses(0.5, 2.0, spread=0.1)
    errors = found.see(lower)
    assert errors[0] == 0.0, "the lowest so far"
    assert errors[1] == pytest.approx(standard_error(lower[1] - 1.0, PICTURES))
    other = LowestLosses(PICTURES.repeat(2, 1))
    other.load_state_dict(found.state_dict())
    later = losses(0.6, 1.1, spread=0.3)
    assert other.see(later) == found.see(later)
    assert found.see(later)[0] == pytest.approx(standard_error(later[0] - lower[0], PICTURES))
