"""How a run goes, read from its directory and held against the processes that the store knows."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import Any

from memshield.jobs.logs import tail_bytes
from memshield.jobs.records import Task
from memshield.rundir import HEARTBEAT_SECONDS, RunDir, is_alive

_EARLIER = 1.0
"""Seconds by which a start time may seem too early: clocks are read to different places."""
_SILENT = 10 * HEARTBEAT_SECONDS
_HANGS = 60 * HEARTBEAT_SECONDS
"""A thread beats through all that a training does, however long: encodes, audits, waits for ranks.
This long without a beat is no pause of a busy machine."""


@dataclass(frozen=True)
class Figures:
    """How far a training got, each None where it is not known yet."""

    step: int | None = None
    total_steps: int | None = None
    round: int | None = None
    shard: int | None = None
    eta_s: float | None = None
    loss: float | None = None
    kept: float | None = None


def figures_of(run: RunDir, status: dict[str, Any]) -> Figures:
    """The newest figures of the attempt that a status tells of.

    The event log is ahead of the status by up to a heartbeat. Only its end is read, for it grows
    to many megabytes.
    """
    newest: dict[str, Any] = {}
    for line in reversed(tail_bytes(run.events).splitlines()):
        with contextlib.suppress(json.JSONDecodeError):
            event = json.loads(line)
            if event["type"] == "step" and event["attempt"] == status.get("attempt"):
                newest = event
                break
    values = {**status, **newest}
    return Figures(**{name: values.get(name) for name in Figures.__dataclass_fields__})


def is_of(task: Task, processes: list[dict[str, Any]]) -> bool:
    """Whether what these processes wrote was written by a task, not by one before it."""
    begun = task.start_time
    return begun is not None and any(one["start_time"] > begun - _EARLIER for one in processes)


def runs_elsewhere(status: dict[str, Any], now: float) -> bool:
    """Whether a training that no task has started is under way, typed by a person."""
    if status.get("state") not in ("preparing", "running"):
        return False
    return now - status["heartbeat"] < _SILENT and any(map(is_alive, status["processes"]))


def silence_of(status: dict[str, Any], now: float) -> float | None:
    """Seconds since a training last gave a sign of life, where that is too long."""
    beat = status.get("heartbeat")
    if not isinstance(beat, (int, float)) or now - beat < _HANGS:
        return None
    return now - beat
