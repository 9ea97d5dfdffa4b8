"""Shards and the held-out part: sizes, whole groups, and the same draw from the same seed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from memshield.data.split import assign_shards, default_held_out_fraction, hold_out

Ints = npt.NDArray[np.int64]
STRATEGIES = ["stratified", "random", "contiguous"]


def single(count: int) -> Ints:
    """Groups of one picture each."""
    return np.arange(count)


def numbered(groups: Ints) -> Ints:
    """Groups numbered from 0 in the order of their first picture."""
    return np.asarray(np.unique(groups, return_inverse=True)[1])


def spread_of(sizes: Ints) -> int:
    return int(sizes.max() - sizes.min())


def random_case(seed: int) -> tuple[np.random.Generator, Ints, int]:
    """A generator, groups of very different sizes (adjacent or scattered), number of shards."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(8, 120))
    shards = int(rng.integers(2, min(count, 9)))
    groups = np.sort(rng.integers(0, max(1, int(count * rng.uniform(0.1, 1.5))), count))
    return rng, numbered(groups if seed % 2 else rng.permutation(groups)), shards


# Sizes


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("duplicates", ["same_shard", "spread"])
@pytest.mark.parametrize(("count", "shards"), [(10, 3), (100, 7), (7, 7), (5, 1), (97, 10)])
def test_without_duplicates_sizes_differ_by_one_at_most(
    strategy: str, duplicates: str, count: int, shards: int
) -> None:
    shard_of = assign_shards(
        single(count), None, shards, strategy=strategy, duplicates=duplicates, seed=1
    )
    sizes = np.bincount(shard_of, minlength=shards)
    assert sizes.sum() == count
    assert len(sizes) == shards
    assert spread_of(sizes) <= 1


def test_every_class_is_spread_evenly() -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        count, shards = int(rng.integers(20, 200)), int(rng.integers(2, 9))
        labels = rng.choice([-1, 0, 1, 5], count, p=[0.1, 0.5, 0.3, 0.1])
        shard_of = assign_shards(single(count), labels.tolist(), shards, seed=seed)
        assert spread_of(np.bincount(shard_of, minlength=shards)) <= 1
        for label in set(labels.tolist()):
            assert spread_of(np.bincount(shard_of[labels == label], minlength=shards)) <= 1


def test_random_shards_ignore_the_classes() -> None:
    labels = [0] * 50 + [1] * 50
    shard_of = assign_shards(single(100), labels, 2, strategy="random", seed=0)
    assert spread_of(np.bincount(shard_of[:50])) > 1
    unlabelled = assign_shards(single(100), None, 2, strategy="stratified", seed=0)
    assert np.array_equal(shard_of, unlabelled)


def test_contiguous_shards_keep_the_order_of_the_files() -> None:
    shard_of = assign_shards(single(10), None, 3, strategy="contiguous")
    assert shard_of.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("strategy", ["stratified", "random"])
def test_the_seed_decides(strategy: str) -> None:
    labels = [i % 3 for i in range(60)]

    def draw(seed: int) -> list[int]:
        return list(assign_shards(single(60), labels, 4, strategy=strategy, seed=seed))

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


# Duplicates


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_groups_stay_whole_up_to_half_a_shard(strategy: str) -> None:
    for seed in range(200):
        rng, groups, shards = random_case(seed)
        labels = rng.integers(0, 3, len(groups)).tolist()
        shard_of = assign_shards(groups, labels, shards, strategy=strategy, seed=seed)
        sizes = np.bincount(shard_of, minlength=shards)
        half = max(1, len(groups) // shards // 2)
        assert sizes.sum() == len(groups)
        assert sizes.min() >= 1
        assert spread_of(sizes) <= 2 * half
        for group in range(groups.max() + 1):
            of_group = np.bincount(shard_of[groups == group], minlength=shards)
            if of_group.sum() <= half:
                assert np.count_nonzero(of_group) == 1
            elif of_group.sum() <= half * shards:
                # Pieces of half a shard at most, each in a shard of its own.
                assert of_group.max() <= half


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_large_group_does_not_fill_a_shard(strategy: str) -> None:
    groups = numbered(np.array([0] * 6 + list(range(1, 35))))
    shard_of = assign_shards(groups, None, 4, strategy=strategy)
    assert np.bincount(shard_of[:6], minlength=4).max() == 5
    groups = numbered(np.array([0] * 15 + list(range(1, 26))))
    shard_of = assign_shards(groups, None, 4, strategy=strategy)
    assert sorted(np.bincount(shard_of[:15], minlength=4).tolist()) == [0, 5, 5, 5]


def test_a_large_group_of_one_class_does_not_unbalance_another_class() -> None:
    groups = numbered(np.array([0] * 5 + list(range(1, 16))))
    labels = [0] * 6 + [1] * 14
    shard_of = assign_shards(groups, labels, 2, seed=0)
    assert np.bincount(shard_of[6:]).tolist() == [7, 7]


@pytest.mark.parametrize("strategy", ["stratified", "random"])
def test_large_groups_do_not_unbalance_the_shards(strategy: str) -> None:
    groups = numbered(np.array([0] * 5 + [1] * 4 + list(range(2, 33))))
    for seed in range(20):
        shard_of = assign_shards(groups, None, 4, strategy=strategy, seed=seed)
        assert np.bincount(shard_of).tolist() == [10, 10, 10, 10]


def test_one_shard_takes_everything() -> None:
    assert assign_shards(numbered(np.zeros(9, np.int64)), None, 1).tolist() == [0] * 9


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_spread_deals_a_group_to_as_many_shards_as_it_can(strategy: str) -> None:
    for seed in range(200):
        _, groups, shards = random_case(seed)
        shard_of = assign_shards(
            groups, None, shards, strategy=strategy, duplicates="spread", seed=seed
        )
        assert np.bincount(shard_of, minlength=shards).min() >= 1
        for group in range(groups.max() + 1):
            assert spread_of(np.bincount(shard_of[groups == group], minlength=shards)) <= 1


def test_spread_keeps_the_shards_equal() -> None:
    groups = numbered(np.repeat(np.arange(20), 5))
    shard_of = assign_shards(groups, None, 4, strategy="random", duplicates="spread")
    assert np.bincount(shard_of).tolist() == [25, 25, 25, 25]


# Held out


def test_whole_groups_are_held_out_and_never_more_than_the_share() -> None:
    for seed in range(200):
        rng, groups, _ = random_case(seed)
        fraction = float(rng.uniform(0, 0.9))
        held = hold_out(groups, fraction, seed)
        assert held.dtype == np.bool_
        assert held.sum() <= round(len(groups) * fraction)
        for group in range(groups.max() + 1):
            assert len(set(held[groups == group].tolist())) == 1


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, 0), (0.1, 12), (0.25, 30), (0.9, 108)])
def test_without_duplicates_the_share_is_met(fraction: float, expected: int) -> None:
    assert hold_out(single(120), fraction, 0).sum() == expected


def test_a_group_larger_than_the_share_is_never_held_out() -> None:
    groups = numbered(np.array([0] * 20 + list(range(1, 81))))
    for seed in range(20):
        held = hold_out(groups, 0.1, seed)
        assert not held[:20].any()
        assert held.sum() == 10


def test_the_held_out_part_is_drawn_with_the_seed() -> None:
    first = hold_out(single(100), 0.1, 1)
    assert np.array_equal(first, hold_out(single(100), 0.1, 1))
    assert not np.array_equal(first, hold_out(single(100), 0.1, 2))


def test_a_tenth_is_held_out_from_a_hundred_pictures_up() -> None:
    assert default_held_out_fraction(99) == 0.0
    assert default_held_out_fraction(100) == 0.1
