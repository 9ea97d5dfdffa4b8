"""Run directories made up for tests of what shows them: real files, no training."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from memshield.audit.report import REPORT, AuditedModel, Report
from memshield.rundir import RunDir
from tests.audit.reports import report_of

HOSTILE = "<script>alert(1)</script><img src=x onerror='alert(2)'>\"&amp;{{ 7 * 7 }}"


def made_run(folder: Path, steps: int = 60, rounds: int = 3, shards: int = 2) -> RunDir:
    """A run that is in the middle of its last round: an event every step."""
    run = RunDir(folder)
    folder.mkdir(parents=True, exist_ok=True)
    run.config.write_text(f"num_rounds: {rounds}\nnum_shards: {shards}\n", encoding="utf-8")
    write_status(run, state="running", total_steps=steps + steps // 10, attempt=1)
    events: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        turn = (step - 1) * rounds * shards // steps
        events.append(step_event(step, round=turn // shards + 1, shard=turn % shards + 1))
        if step % (steps // rounds) == 0:
            number = step // (steps // rounds)
            events.append(event("checkpoint", step=step))
            if number < rounds:
                events.append(
                    event("round", step=step, round=number, loss=0.4 / number, kept=0.9, seconds=31)
                )
    write_events(run, events)
    return run


def event(type: str, **values: Any) -> dict[str, Any]:
    """An event of the first attempt."""
    time = 1_800_000_000.0 + values.get("step", 0)
    return {"v": 1, "time": time, "type": type, "attempt": 1, **values}


def step_event(step: int, **values: Any) -> dict[str, Any]:
    """An event of a step, with a loss that falls and wavers."""
    loss = 0.02 + math.exp(-step / 12) * (1 + 0.1 * math.sin(step))
    kept = 1 - 0.3 * (1 - math.exp(-step / 40)) + 0.03 * math.sin(step / 2)
    rest = {"round": 1, "shard": 1, "loss": loss, "kept": min(1.0, kept), "lr": 1e-4, "eta_s": 41.0}
    return event("step", step=step, **{**rest, **values})


def write_events(run: RunDir, events: Sequence[Mapping[str, Any]], mode: str = "w") -> None:
    """Events as a run writes them."""
    with run.events.open(mode, encoding="utf-8") as file:
        file.writelines(json.dumps(one) + "\n" for one in events)


def write_status(run: RunDir, **values: Any) -> None:
    """A status.json with these values."""
    run.status.write_text(json.dumps({"v": 1, "reason": None, "error": None, **values}), "utf-8")


def audit_round(run: RunDir, number: int, excess: float | None, kid: float) -> Report:
    """An audit of a round, as a file."""
    report = report_of(excess, kid, target=AuditedModel(name="made", kind="run", round=number))
    report.write(run.audit_of(number) / REPORT)
    return report


def picture(seed: int, size: tuple[int, int] = (64, 64)) -> Image.Image:
    """A smooth picture of its own."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def save_grid(run: RunDir, number: int, seed: int | None = None) -> Path:
    """A sample grid of a round."""
    run.samples.mkdir(exist_ok=True)
    path = run.samples / f"round-{number:04d}.png"
    picture(number if seed is None else seed, (196, 196)).save(path)
    return path
