"""Which pictures are held out, and which shard each member belongs to. Arrays in, arrays out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from memshield.randomness import Purpose, numpy_generator
from memshield.step_budget import largest_remainder

Ints = npt.NDArray[np.int64]
LEAST_WATCHED = 20
"""Pictures to watch below which a rise of their loss cannot be told from chance."""
HELD_OUT_FROM = 100
"""From this many pictures up, a tenth is held out unless the config says otherwise."""


def default_held_out_fraction(images: int) -> float:
    """The share held out where the config leaves it open."""
    return 0.1 if images >= HELD_OUT_FROM else 0.0


def watched_fraction(images: int, fraction: float | None, watches: bool) -> float:
    """The share that is watched while training.

    Args:
        images: usable pictures.
        fraction: as the config has it; None leaves it open.
        watches: whether the config needs any.
    """
    if fraction is not None:
        return fraction
    return max(0.1, LEAST_WATCHED / max(1, images)) if watches else 0.0


def hold_out(
    groups: Ints, fraction: float, seed: int, purpose: Purpose = Purpose.HOLD_OUT
) -> npt.NDArray[np.bool_]:
    """Draw whole duplicate groups to be held out, so that no copy of one is trained on.

    Args:
        groups: [N] duplicate group of every picture.
        fraction: of the pictures; the result holds at most that share.
        seed: of the draw.
        purpose: keeps the draw for audits apart from the one to be watched.

    Returns:
        [N] True where held out.
    """
    wanted = round(len(groups) * fraction)
    sizes = np.bincount(groups)
    chosen = np.zeros(len(sizes), dtype=bool)
    for group in numpy_generator(seed, purpose).permutation(len(sizes)):
        if sizes[group] <= wanted:
            chosen[group] = True
            wanted -= sizes[group]
    return chosen[groups]


def assign_shards(
    groups: Ints,
    labels: Sequence[int] | None,
    num_shards: int,
    *,
    strategy: str = "stratified",
    duplicates: str = "same_shard",
    seed: int = 0,
) -> Ints:
    """Split pictures over shards of nearly equal size.

    A unit is what stays together: a duplicate group under `same_shard` (cut into pieces of at
    most half a shard, so that no shard is mostly one picture), else a single picture.

    Args:
        groups: [N] duplicate group of every picture.
        labels: [N] class of every picture, or None.
        num_shards: K, at most N.
        strategy: `stratified` (every class spread evenly), `random`, or `contiguous` (file order).
        duplicates: `same_shard`, or `spread`, which deals a group's pictures to different shards.
        seed: of the shuffling.

    Returns:
        [N] shard of every picture, 0 .. K-1.
    """
    if strategy == "stratified" and labels is None:
        strategy = "random"
    rng = numpy_generator(seed, Purpose.SHARDS)
    units = _units(groups, num_shards, together=duplicates == "same_shard")
    if strategy == "contiguous":
        return _fill_in_order(units, groups, num_shards, duplicates == "spread")
    classes = [int(labels[unit[0]]) if labels is not None else 0 for unit in units]
    if strategy == "random":
        classes = [0] * len(units)
    # Larger units first, or the last large one would unbalance the shards; the rest at random.
    order = sorted(rng.permutation(len(units)).tolist(), key=lambda u: -len(units[u]))
    if duplicates == "spread":
        # A group's pictures one after the other, so that they are dealt to different shards.
        size = np.bincount(groups)
        rank = {group: i for i, group in enumerate(rng.permutation(len(size)).tolist())}
        order.sort(key=lambda u: (-size[groups[units[u][0]]], rank[int(groups[units[u][0]])]))
    by_class: dict[int, list[int]] = defaultdict(list)
    for unit in order:
        by_class[classes[unit]].append(unit)
    shard_of = np.full(len(groups), -1, dtype=np.int64)
    totals = np.zeros(num_shards, dtype=np.int64)
    group_in_shard: dict[int, Ints] = {}
    for label in sorted(by_class):
        of_class = np.zeros(num_shards, dtype=np.int64)
        for unit in by_class[label]:
            same_group = group_in_shard.setdefault(
                int(groups[units[unit][0]]), np.zeros(num_shards, dtype=np.int64)
            )
            # Fewest of its own group, then of its class, then of all; ties to the first.
            shard = int(np.lexsort((totals, of_class, same_group))[0])
            shard_of[units[unit]] = shard
            same_group[shard] += len(units[unit])
            of_class[shard] += len(units[unit])
            totals[shard] += len(units[unit])
    return shard_of


def _units(groups: Ints, num_shards: int, together: bool) -> list[Ints]:
    if not together:
        return [np.asarray([i]) for i in range(len(groups))]
    members: dict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups.tolist()):
        members[group].append(index)
    most = _largest_unit(len(groups), num_shards)
    return [
        np.asarray(group[start : start + most])
        for group in members.values()
        for start in range(0, len(group), most)
    ]


def _largest_unit(images: int, num_shards: int) -> int:
    # A single shard holds everything anyway: there is nothing to keep apart.
    return images if num_shards == 1 else max(1, images // num_shards // 2)


def _fill_in_order(units: list[Ints], groups: Ints, num_shards: int, spread: bool) -> Ints:
    """File order: groups first, each piece as near to its place as it may be; singles fill up."""
    images = len(groups)
    sizes = np.bincount(groups)
    room = np.asarray(largest_remainder(images, [1] * num_shards))
    most = _largest_unit(images, num_shards)
    held: dict[int, Ints] = {}
    shard_of = np.full(images, -1, dtype=np.int64)
    order = sorted(units, key=lambda u: (sizes[groups[u[0]]] == 1, -len(u), int(u[0])))
    for unit in order:
        same = held.setdefault(int(groups[unit[0]]), np.zeros(num_shards, dtype=np.int64))
        # Singles take the first shard with room, so that they stay in file order.
        single = sizes[groups[unit[0]]] == 1
        place = 0 if single else int(unit[0]) * num_shards // images
        distance = np.abs(np.arange(num_shards) - place)
        full = room < len(unit)
        beyond = same if spread else same + len(unit) > most
        shard = int(np.lexsort((distance, np.where(full, -room, 0), full, beyond))[0])
        shard_of[unit] = shard
        same[shard] += len(unit)
        room[shard] -= len(unit)
    return shard_of
