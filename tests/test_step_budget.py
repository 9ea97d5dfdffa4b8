"""Steps: exact totals, fair shares, and positions that agree with walking the loop."""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction

import pytest

from memshield.step_budget import (
    StepBudget,
    largest_remainder,
    spread_evenly,
    steps_of_run,
)


def cases(count: int = 300) -> list[random.Random]:
    """Sources of random cases, one each, so that a failing case can be had again."""
    return [random.Random(seed) for seed in range(count)]


def test_largest_remainder_is_exact_and_within_one_of_the_share() -> None:
    for rng in cases():
        weights = [rng.randint(1, 10 ** rng.randint(0, 6)) for _ in range(rng.randint(1, 30))]
        total = rng.randint(0, 10 ** rng.randint(0, 12))
        parts = largest_remainder(total, weights)
        assert sum(parts) == total
        for part, weight in zip(parts, weights, strict=True):
            assert abs(part - Fraction(total * weight, sum(weights))) < 1


def test_the_largest_remainders_are_rounded_up() -> None:
    # Exact shares 3.6, 3.3, 3.1.
    assert largest_remainder(10, [36, 33, 31]) == [4, 3, 3]
    # Exact shares 0.2, 0.9, 0.9.
    assert largest_remainder(2, [2, 9, 9]) == [0, 1, 1]


def test_ties_go_to_the_first() -> None:
    assert largest_remainder(5, [1, 1, 1]) == [2, 2, 1]


def test_spread_evenly_keeps_every_running_sum_within_one() -> None:
    for rng in cases():
        total, parts = rng.randint(0, 10 ** rng.randint(0, 9)), rng.randint(1, 50)
        spread = spread_evenly(total, parts)
        assert len(spread) == parts
        assert sum(spread) == total
        assert max(spread) - min(spread) <= 1
        for i, running in enumerate(itertools.accumulate(spread), start=1):
            assert abs(running - Fraction(total * i, parts)) < 1


@pytest.mark.parametrize(
    ("images", "epochs", "a_step", "maximum", "steps"),
    [
        (100, 3, 10, None, 30),
        (100, 3, 16, None, 19),
        (101, 1, 100, None, 2),
        (5, 1, 100, None, 1),
        (100, 3, 10, 7, 7),
        (100, 3, 10, 1000, 1000),
    ],
)
def test_steps_of_a_run(
    images: int, epochs: int, a_step: int, maximum: int | None, steps: int
) -> None:
    assert steps_of_run(images, epochs, a_step, maximum) == steps


def test_a_mitigated_run_takes_exactly_the_steps_of_the_plain_one() -> None:
    for rng in cases():
        sizes = [rng.randint(1, 500) for _ in range(rng.randint(1, 12))]
        rounds, epochs, a_step = rng.randint(1, 12), rng.randint(1, 9), rng.randint(1, 64)
        total = steps_of_run(sum(sizes), epochs, a_step, None)
        assert total == math.ceil(Fraction(sum(sizes) * epochs, a_step))
        budget = StepBudget.split(total, sizes, rounds)
        assert budget.total == total
        assert len(budget.steps) == rounds
        assert all(len(row) == len(sizes) for row in budget.steps)
        for shard, size in enumerate(sizes):
            of_shard = [row[shard] for row in budget.steps]
            assert budget.of_shard(shard) == sum(of_shard)
            assert abs(sum(of_shard) - Fraction(total * size, sum(sizes))) < 1
            assert max(of_shard) - min(of_shard) <= 1
            for round in range(rounds + 1):
                assert budget.before(round, shard) == sum(of_shard[:round])
        ends = [budget.round_end(round) for round in range(rounds)]
        assert ends == list(itertools.accumulate(sum(row) for row in budget.steps))


def test_ranks_share_the_steps_of_a_round() -> None:
    """Taking a step on every rank at a time arrives at the same places."""
    for rng in cases(100):
        rows = [tuple(rng.randint(1, 6) for _ in range(rng.randint(1, 5)))]
        rows += [tuple(rng.randint(1, 6) for _ in rows[0]) for _ in range(rng.randint(0, 3))]
        budget, ranks = StepBudget(tuple(rows)), rng.randint(1, 7)
        reached = 0
        for round, row in enumerate(budget.steps):
            left = [[row[k] for k in range(len(row)) if k % ranks == r] for r in range(ranks)]
            assert [budget.on_rank(round, r, ranks) for r in range(ranks)] == [sum(x) for x in left]
            counts = [sum(x) for x in left]
            taken = 0
            assert budget.reached(round, 0, ranks) == reached
            while any(counts):
                reached += sum(1 for count in counts if count)
                counts = [max(0, count - 1) for count in counts]
                taken += 1
                assert budget.reached(round, taken, ranks) == reached
            assert reached == budget.round_end(round)
