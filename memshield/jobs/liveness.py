"""What a status that a run wrote says of whether it still runs, wherever it does."""

from __future__ import annotations

from typing import Any

from memshield.jobs.records import Task
from memshield.rundir import HEARTBEAT_SECONDS, is_alive

_EARLIER = 1.0
"""Seconds by which a start time may seem too early: clocks are read to different places."""
_SILENT = 10 * HEARTBEAT_SECONDS
_HANGS = 60 * HEARTBEAT_SECONDS
"""A thread beats through all that a training does, however long: encodes, audits, waits for ranks.
This long without a beat is no pause of a busy machine."""


def is_of(task: Task, processes: list[dict[str, Any]]) -> bool:
    """Whether these processes, which wrote a status, belong to a task and not to an earlier one."""
    begun = task.start_time
    return begun is not None and any(one["start_time"] > begun - _EARLIER for one in processes)


def runs_elsewhere(status: dict[str, Any], now: float) -> bool:
    """Whether a training is under way that a person started, not a task."""
    if status.get("state") not in ("preparing", "running"):
        return False
    return now - status["heartbeat"] < _SILENT and any(map(is_alive, status["processes"]))


def silence_of(status: dict[str, Any], now: float) -> float | None:
    """Seconds since the last heartbeat of a training, where that is too long."""
    beat = status.get("heartbeat")
    if not isinstance(beat, (int, float)) or now - beat < _HANGS:
        return None
    return now - beat
