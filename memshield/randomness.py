"""Seeds of all random draws: a function of (seed, purpose, shard, step), without state.

So nothing random is ever saved, and a result does not depend on where a run was cut or on which
process trained a shard.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """Streams that must not repeat each other."""

    HOLD_OUT = 1
    SHARDS = 2
    ORDER = 3
    AUGMENT = 4
    NOISE = 5
    DROPOUT = 6
    SAMPLE = 7
    GENERATE = 8
    PROMPTS = 9
    ATTACK = 10
    WATCH = 11
    ANCHOR = 12
    BUCKETS = 13
    CROPS = 14


def numpy_generator(seed: int, purpose: Purpose, *keys: int) -> np.random.Generator:
    """An independent generator for this purpose and these keys."""
    return np.random.default_rng([seed, purpose, *keys])


def torch_seed(seed: int, purpose: Purpose, *keys: int) -> int:
    """A seed for a torch generator, 63 bits."""
    words = np.random.SeedSequence([seed, purpose, *keys]).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))
