"""Peaks of a GPU's memory, and those of the same training with more shards or fewer."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from memshield.training.progress import Listener
from tests.bench.setting import Setting

ROUNDS, STEPS = 2, 32
"""Of a run whose memory is measured: every one of 8 shards takes 2 steps a round."""


def forget(device: str) -> None:
    """Free what nobody holds any more, and begin to measure anew."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_of_tensors(device: str) -> int | None:
    """Largest number of bytes that tensors took on the device; None without a GPU."""
    return int(torch.cuda.max_memory_allocated()) if device.startswith("cuda") else None


def short_run(count: int) -> dict[str, Any]:
    """Settings of a run whose memory is measured, with so many shards."""
    return {
        "num_shards": count,
        "num_rounds": ROUNDS,
        "max_train_steps": STEPS,
        "held_out_fraction": 0,
    }


def peaks_of(counts: Sequence[int], make: Callable[[int], Setting], device: str) -> dict[str, Any]:
    """Peaks from loading to the last round by number of shards, and each over that of one shard.

    Args:
        counts: of shards, 1 among them.
        make: prepares a training with so many.
        device: cpu or cuda.
    """
    peaks: dict[int, int | None] = {}
    for count in counts:
        # Each encodes its pictures itself: a run that finds them encoded does less.
        with tempfile.TemporaryDirectory() as cache:
            os.environ["MEMSHIELD_CACHE"] = cache
            peaks[count] = _peak_of_training(partial(make, count), device)
    return _beside_the_first(peaks)


def _peak_of_training(make: Callable[[], Setting], device: str) -> int | None:
    forget(device)
    make().trainer(Listener()).train(None)
    return peak_of_tensors(device)


def _beside_the_first(peaks: Mapping[int, int | None]) -> dict[str, Any]:
    first = peaks[1]
    return {
        "peak_bytes": {f"shards_{count}": peak for count, peak in peaks.items()},
        "peak_ratio": {
            f"shards_{count}": None if peak is None or first is None else peak / first
            for count, peak in peaks.items()
            if count > 1
        },
    }
