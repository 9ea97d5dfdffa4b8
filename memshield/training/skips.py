"""The record of what was drawn and skipped, from what the shards saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import safe_open

from memshield.data.examples import Examples
from memshield.data.tables import write_table
from memshield.training.checkpoint import Checkpoint


def write_skips(path: Path, checkpoint: Checkpoint, examples: Examples) -> None:
    """Write skips.parquet (index, draws, skips of every member), whole or not at all.

    Read from the checkpoint, because the shards may be other processes'.
    """
    members = examples.members()
    draws = np.zeros(len(examples), dtype=np.int64)
    skips = np.zeros(len(examples), dtype=np.int64)
    for shard in range(len(examples.shard_sizes())):
        if checkpoint.has(f"shard-{shard}"):
            with safe_open(checkpoint.path(f"shard-{shard}"), framework="np") as file:
                draws[examples.of_shard(shard)] = file.get_tensor("draws")
                skips[examples.of_shard(shard)] = file.get_tensor("skips")
    write_table(path, {"index": members, "draws": draws[members], "skips": skips[members]})
