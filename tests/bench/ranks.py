"""Two processes of a run over one, on the CPU with one thread each.

python -m tests.bench.ranks
Aim: at least 1.7 times the samples a second with an even number of shards.

Real runs of the demo's model in real processes. The first round is left out: in its steps
libraries warm up. What a round takes beside its steps (waiting for the other process, averaging,
saving) is what the steps' own pace, read from the step events, does not account for.

Two processes need two free cores: the result says how many cores' time other processes, or other
machines on the same host, took meanwhile. With more than a few hundredths it says little.
"""

from __future__ import annotations

import os
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch

from tests.bench.common import ROOT, arguments, report
from tests.trained_runs import finish_ranks

COUNTS = (1, 2)
REPEATS = 3
SHARDS, ROUNDS, STEPS, BATCH = 4, 3, 1200, 32


class Pace(NamedTuple):
    """How fast a run was in its steady rounds.

    Attributes:
        samples: trained on a second.
        beside: share of the rounds' time that no step accounts for.
        whole: seconds of all rounds.
        elsewhere: cores' time a second that went to other processes.
    """

    samples: float
    beside: float
    whole: float
    elsewhere: float


def pace(events: Sequence[dict[str, Any]], elsewhere: float) -> Pace:
    """Read a run's pace from its events."""
    rounds = [event for event in events if event["type"] == "round"]
    steady = rounds[1:]
    steps = steady[-1]["step"] - rounds[0]["step"]
    seconds = sum(event["seconds"] for event in steady)
    stepping = 0.0
    for before, ended in zip(rounds, steady, strict=False):
        inside = [e for e in events if e["type"] == "step" and e["round"] == ended["round"]]
        first, last = inside[0], inside[-1]
        a_step = (last["time"] - first["time"]) / (last["step"] - first["step"])
        stepping += a_step * (ended["step"] - before["step"])
    whole = sum(event["seconds"] for event in rounds)
    return Pace(steps * BATCH / seconds, 1 - stepping / seconds, whole, elsewhere)


def run(count: int) -> Pace:
    """A run in `count` processes."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "config": ROOT / "configs/demo.yaml",
            "num_shards": SHARDS,
            "num_rounds": ROUNDS,
            "max_train_steps": STEPS,
            "train_batch_size": BATCH,
            "num_validation_images": 0,
            "checkpointing_steps": STEPS,
            "output_dir": Path(folder) / "run",
        }
        begun, busy = time.monotonic(), _busy_elsewhere()
        finished, _ = finish_ranks(settings, count)
        elsewhere = (_busy_elsewhere() - busy) / (time.monotonic() - begun)
        return pace(finished.read_events(), elsewhere)


def _busy_elsewhere() -> float:
    """Seconds of all cores so far that neither this process nor those it waited for took."""
    times = psutil.cpu_times()
    own = sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
    idle = times.idle + getattr(times, "iowait", 0.0)
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return float(sum(times) - guests - idle - own)  # guests are counted among users too


def main() -> None:
    """Measure and report."""
    options = arguments(__doc__ or "")
    # Of the processes that are started; one thread here as well, so that the result says so.
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    paces: dict[int, list[Pace]] = {count: [] for count in COUNTS}
    for _ in range(REPEATS):
        for count in COUNTS:
            paces[count].append(run(count))

    def medians(field: str) -> dict[str, float]:
        return {
            f"processes_{count}": statistics.median(getattr(one, field) for one in found)
            for count, found in paces.items()
        }

    samples = medians("samples")
    report(
        "ranks_cpu",
        options,
        {
            "model": "configs/demo.yaml",
            "shards": SHARDS,
            "rounds": ROUNDS,
            "steps": STEPS,
            "batch": BATCH,
            "repeats": REPEATS,
        },
        samples_per_second=samples,
        ratio=samples["processes_2"] / samples["processes_1"],
        ratios=[two.samples / one.samples for one, two in zip(paces[1], paces[2], strict=True)],
        share_beside_steps=medians("beside"),
        seconds_of_a_run=medians("whole"),
        cores_busy_elsewhere=medians("elsewhere"),
    )


if __name__ == "__main__":
    main()
