"""The order in which a shard's pictures come, by the number of the batch. Nothing is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from memshield.data.buckets import Buckets
from memshield.data.examples import Ints
from memshield.randomness import Purpose, numpy_generator
from memshield.step_budget import largest_remainder


class Order(Protocol):
    """Batch n of a shard -> the indices of its examples."""

    def batch(self, number: int) -> Ints:
        """Those of one batch; any number, the same at any time."""


def order_of(
    members: Ints, buckets: Buckets | None, batch_size: int, seed: int, shard: int
) -> Order:
    """The order of a shard's examples, with aspect buckets or without."""
    if buckets is None:
        return Permutations(members, batch_size, seed, shard)
    parts = [part for _, part in buckets.parts(members)]
    return BucketOrder(parts, batch_size, seed, shard)


class Permutations:
    """Full batches out of an endless sequence of permutations.

    A batch in which one ends and the next begins may hold a picture twice: that is rare where
    there are many, and runs that have begun so go on so.

    Args:
        members: example indices.
        batch_size: B.
        seed: of the run.
        keys: of these permutations.
    """

    def __init__(self, members: Ints, batch_size: int, seed: int, *keys: int) -> None:
        self._members = members
        self._batch_size = batch_size
        self._seed = seed
        self._keys = keys
        self._known: dict[int, Ints] = {}

    def batch(self, number: int) -> Ints:
        """Places number * B to (number + 1) * B of the sequence."""
        places = np.arange(number * self._batch_size, (number + 1) * self._batch_size)
        epochs, offsets = np.divmod(places, len(self._members))
        pairs = zip(epochs.tolist(), offsets.tolist(), strict=True)
        return np.asarray([self._permutation(e)[o] for e, o in pairs])

    def _permutation(self, epoch: int) -> Ints:
        if epoch not in self._known:
            found = self._made(epoch)
            # A step spans two epochs at the most often: older ones are not needed again.
            self._known = {e: p for e, p in self._known.items() if e >= epoch - 1}
            self._known[epoch] = found
        return self._known[epoch]

    def _made(self, epoch: int) -> Ints:
        return self._drawn(epoch)

    def _drawn(self, epoch: int) -> Ints:
        generator = numpy_generator(self._seed, Purpose.ORDER, *self._keys, epoch)
        return generator.permutation(self._members)


class DistinctPermutations(Permutations):
    """The same, and no batch holds a picture twice.

    Where an epoch ends inside a batch, those of the next epoch's first B that are in this batch
    already come last of them. So the epoch is a permutation still, and as long as it was: every
    picture comes as often. There must be B members or more.
    """

    def _made(self, epoch: int) -> Ints:
        drawn, size = self._drawn(epoch), self._batch_size
        begun = epoch * len(drawn) % size
        if begun == 0:
            return drawn
        before = self._end_of(epoch - 1, begun)
        twice = np.isin(drawn[:size], before)
        return np.concatenate([drawn[:size][~twice], drawn[:size][twice], drawn[size:]])

    def _end_of(self, epoch: int, count: int) -> Ints:
        if epoch not in self._known and len(self._members) >= 2 * self._batch_size:
            return self._drawn(epoch)[-count:]  # which its own first B do not reach
        # Where they do, each epoch follows from all before it, and those are short.
        known = max((e for e in self._known if e <= epoch), default=0)
        for earlier in range(known, epoch):
            self._permutation(earlier)
        return self._permutation(epoch)[-count:]


class BucketOrder:
    """Full batches of one aspect bucket each, so many of each as it has pictures.

    The batches of about an epoch are a block. By the end of any block every bucket has had its
    exact share of all batches so far, rounded down or up; inside the block they are shuffled. So
    no picture comes more often than others because of its bucket. No batch holds one twice.

    Args:
        parts: example indices of each bucket; no fewer than a batch.
        batch_size: B.
        seed: of the run.
        shard: number of the shard.
    """

    def __init__(self, parts: Sequence[Ints], batch_size: int, seed: int, shard: int) -> None:
        self._sizes = [len(part) for part in parts]
        self._parts = [
            DistinctPermutations(part, batch_size, seed, shard, bucket)
            for bucket, part in enumerate(parts)
        ]
        self._block_length = -(-sum(self._sizes) // batch_size)
        self._seed, self._shard = seed, shard
        self._known: tuple[int, Ints, Ints] | None = None

    def batch(self, number: int) -> Ints:
        """The next pictures of the bucket that has this batch."""
        block, place = divmod(number, self._block_length)
        before, order = self._block(block)
        bucket = int(order[place])
        earlier = int(before[bucket]) + int((order[:place] == bucket).sum())
        return self._parts[bucket].batch(earlier)

    def _block(self, block: int) -> tuple[Ints, Ints]:
        """Batches of each bucket before a block, and the bucket of each batch in it."""
        if self._known is None or self._known[0] != block:
            # A block adds B / n of a bucket's pictures or more, that is at least one batch:
            # rounded shares never fall.
            before, after = (self._shares(block + i) for i in (0, 1))
            order = np.repeat(np.arange(len(before)), after - before)
            generator = numpy_generator(self._seed, Purpose.BUCKETS, self._shard, block)
            self._known = block, before, generator.permutation(order)
        return self._known[1:]

    def _shares(self, blocks: int) -> Ints:
        return np.asarray(largest_remainder(blocks * self._block_length, self._sizes))
