"""How many optimizer steps a run takes, and which shard takes them when. Whole numbers only."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass


def largest_remainder(total: int, weights: Sequence[int]) -> list[int]:
    """Split `total` in proportion to `weights` into whole parts that add up to it exactly.

    Every part is its exact share rounded down or up (Hamilton's method); ties go to the first.
    """
    whole = sum(weights)
    parts = [total * weight // whole for weight in weights]
    remainders = [total * weight % whole for weight in weights]
    order = sorted(range(len(weights)), key=lambda i: (-remainders[i], i))
    for i in order[: total - sum(parts)]:
        parts[i] += 1
    return parts


def spread_evenly(total: int, parts: int) -> list[int]:
    """Split `total` over equal parts so that every running sum is within one of its share."""
    edges = [total * i // parts for i in range(parts + 1)]
    return [b - a for a, b in itertools.pairwise(edges)]


def steps_of_run(images: int, epochs: int, images_a_step: int, max_steps: int | None) -> int:
    """Optimizer steps of a plain run: ceil(images x epochs / images a step), or the maximum given.

    A mitigated run takes exactly as many, over all its shards.
    """
    return max_steps if max_steps is not None else math.ceil(images * epochs / images_a_step)


@dataclass(frozen=True)
class StepBudget:
    """The steps of every shard in every round.

    Attributes:
        steps: [rounds][shards] optimizer steps.
    """

    steps: tuple[tuple[int, ...], ...]

    @classmethod
    def split(cls, total: int, shard_sizes: Sequence[int], rounds: int) -> StepBudget:
        """Split `total` over the shards by size, then each shard's over the rounds."""
        by_shard = [spread_evenly(steps, rounds) for steps in largest_remainder(total, shard_sizes)]
        return cls(tuple(zip(*by_shard, strict=True)))

    @property
    def total(self) -> int:
        """Steps of the whole run."""
        return sum(map(sum, self.steps))

    def of_shard(self, shard: int) -> int:
        """Steps of one shard over all rounds."""
        return sum(row[shard] for row in self.steps)

    def before(self, round: int, shard: int) -> int:
        """Steps that one shard has taken before a round starts."""
        return sum(row[shard] for row in self.steps[:round])

    def round_end(self, round: int) -> int:
        """Steps of the whole run when a round has ended."""
        return sum(map(sum, self.steps[: round + 1]))

    def on_rank(self, round: int, rank: int, ranks: int) -> int:
        """Steps of a round that one of `ranks` processes takes: shard k is on rank k mod ranks."""
        return sum(self.steps[round][rank::ranks])

    def reached(self, round: int, taken: int, ranks: int) -> int:
        """Steps of the whole run when every rank has taken `taken` in a round, or all its own."""
        before = self.round_end(round - 1) if round else 0
        return before + sum(min(taken, self.on_rank(round, r, ranks)) for r in range(ranks))
