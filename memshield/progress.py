"""Telling how a run goes: the bar, events.jsonl, status.json, trackers."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Any

from tqdm.auto import tqdm

from memshield.rundir import EventLog, StatusFile
from memshield.step import StepResult

log = logging.getLogger("memshield")
Tracker = Callable[[dict[str, float], int], None]


class Progress:
    """Follows a run step by step.

    Args:
        events: the run's event log.
        status: the run's status file.
        total: steps of the whole run.
        done: steps taken before this attempt.
        rounds, shards: of the run, for the bar.
        track: sends figures to trackers, or None.
    """

    def __init__(
        self,
        events: EventLog,
        status: StatusFile,
        total: int,
        done: int,
        rounds: int,
        shards: int,
        track: Tracker | None = None,
    ) -> None:
        self.events = events
        self.status = status
        self._total = total
        self._rounds = rounds
        self._shards = shards
        self._track = track
        self._first = done
        self._begun = time.monotonic()
        self._recent = _Mean()
        self._round = _Mean()
        self._round_begun = self._begun
        # A log file gets a line now and then, a terminal a moving bar.
        every = 0.2 if sys.stderr.isatty() else 10.0
        self._bar = tqdm(
            total=total, initial=done, unit="step", dynamic_ncols=True, mininterval=every
        )

    def step(self, step: int, round: int, shard: int, result: StepResult) -> None:
        """Note a step of the run (all counted from 1)."""
        self._recent.add(result)
        self._round.add(result)
        self._bar.update()
        if not self.events.step_is_due() and step != self._total:
            return
        loss, kept = self._recent.take()
        self._bar.set_description(
            f"round {round}/{self._rounds} shard {shard}/{self._shards}", False
        )
        self._bar.set_postfix({"loss": f"{loss:.4f}", "kept": f"{kept:.0%}"}, False)
        values = {"loss": loss, "kept": kept, "lr": result.lr}
        eta = self.eta(step)
        self.events.write("step", step=step, round=round, shard=shard, eta_s=eta, **values)
        self.status.update(step=step, total_steps=self._total, round=round, shard=shard, eta_s=eta)
        if self._track is not None:
            self._track({**values, "round": round, "shard": shard}, step)

    def eta(self, step: int) -> float:
        """Seconds left at the pace of this attempt."""
        pace = (time.monotonic() - self._begun) / max(1, step - self._first)
        return round((self._total - step) * pace, 1)

    def round_ended(self, step: int, round: int, **extra: Any) -> None:
        """Note the end of a round."""
        loss, kept = self._round.take()
        seconds = round_to_ms(time.monotonic() - self._round_begun)
        self._round_begun = time.monotonic()
        self.events.write(
            "round", step=step, round=round, loss=loss, kept=kept, seconds=seconds, **extra
        )
        if self._track is not None:
            self._track({"round_loss": loss, "round_kept": kept, **extra}, step)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


class _Mean:
    """Running mean of losses and shares kept since it was last taken."""

    def __init__(self) -> None:
        self._last = (0.0, 0.0)
        self._loss = self._kept = 0.0
        self._count = 0

    def add(self, result: StepResult) -> None:
        self._loss += result.loss
        self._kept += result.kept
        self._count += 1

    def take(self) -> tuple[float, float]:
        if self._count:
            self._last = (self._loss / self._count, self._kept / self._count)
        self._loss = self._kept = 0.0
        self._count = 0
        return self._last


def round_to_ms(seconds: float) -> float:
    """Seconds to three places: finer is noise."""
    return round(seconds, 3)
