"""Telling how a run goes: the bar, events.jsonl, status.json, trackers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from memshield.audit.watch_record import WatchRecord
from memshield.rundir import EventLog, StatusFile
from memshield.training.bar import Bar
from memshield.training.step import StepResult

log = logging.getLogger("memshield")
Tracker = Callable[[dict[str, float], int], None]


class Listener:
    """Hears how a rank gets on and says nothing: for ranks beside the first."""

    def __init__(self) -> None:
        self._round = _Mean()

    def step(self, step: int, round: int, shard: int, result: StepResult) -> None:
        """A step was taken (all counted from 1; `step` in steps of the whole run)."""
        self._round.add(result)

    def take_round(self) -> tuple[int, float, float]:
        """Steps of this rank since this was last asked, their mean loss and share kept."""
        return self._round.take()

    def round_begins(self) -> None:
        """The first step of a round is next, or the first of this attempt in it."""

    def round_ended(
        self, step: int, round: int, loss: float | None, kept: float | None, **extra: Any
    ) -> None:
        """A round has ended, with these means over all ranks.

        They are None where an earlier attempt took some of its steps: those means are lost.
        """

    def watched(
        self, record: WatchRecord, stopping: Sequence[int], round: int, seconds: float
    ) -> None:
        """The held-out loss was looked at; these bands of noise levels stop with it."""

    def saved(self, step: int) -> None:
        """A checkpoint was made."""

    def sampled(self, step: int, round: int, file: str) -> None:
        """A sample grid was made."""

    def close(self) -> None:
        """The run is over."""


class Progress(Listener):
    """Tells of a run step by step.

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
        super().__init__()
        self._events = events
        self._status = status
        self._total = total
        self._track = track
        self._first = done
        self._begun = time.monotonic()
        self._recent = _Mean()
        self._round_begun = self._begun
        self._bar = Bar(total, done, rounds, shards)

    def step(self, step: int, round: int, shard: int, result: StepResult) -> None:
        """Write an event when one is due, and move the bar."""
        super().step(step, round, shard, result)
        self._recent.add(result)
        self._bar.move(step)
        if not self._events.step_is_due() and step != self._total:
            return
        _, loss, kept = self._recent.take()
        self._bar.describe(round, shard, loss, kept)
        values = {"loss": loss, "kept": kept, "lr": result.lr}
        eta = self.eta(step)
        self._events.write("step", step=step, round=round, shard=shard, eta_s=eta, **values)
        self._status.update(step=step, total_steps=self._total, round=round, shard=shard, eta_s=eta)
        if self._track is not None:
            self._track({**values, "round": round, "shard": shard}, step)

    def eta(self, step: int) -> float:
        """Seconds left at the pace of this attempt."""
        pace = (time.monotonic() - self._begun) / max(1, step - self._first)
        return round((self._total - step) * pace, 1)

    def round_begins(self) -> None:
        """Start the clock: what comes between two rounds (samples, an audit) is of none."""
        self._round_begun = time.monotonic()

    def round_ended(
        self, step: int, round: int, loss: float | None, kept: float | None, **extra: Any
    ) -> None:
        """Write the round's event, with no time where an earlier attempt began it."""
        seconds = None if loss is None else round_to_ms(time.monotonic() - self._round_begun)
        self._events.write(
            "round", step=step, round=round, loss=loss, kept=kept, seconds=seconds, **extra
        )
        self._status.update(step=step, total_steps=self._total, round=round)
        if self._track is not None:
            means = {} if loss is None or kept is None else {"round_loss": loss, "round_kept": kept}
            self._track({**means, **extra}, step)

    def watched(
        self, record: WatchRecord, stopping: Sequence[int], round: int, seconds: float
    ) -> None:
        """Write the check's event, and say in the log which noise levels stop."""
        check = record.checks[-1]
        self._events.write(
            "watch",
            step=check.step,
            round=round,
            losses=list(check.losses),
            stopped=list(record.stopped),
            seconds=round_to_ms(seconds),
        )
        for band in stopping:
            low, high = record.bounds[band : band + 2]
            log.info(
                "The held-out loss rises at noise levels %.3g to %.3g (noise over signal): no "
                "more is learned from the pictures there, from step %d on.",
                low,
                high,
                check.step,
            )
        if self._track is not None:
            losses = {f"held_out_loss_{band}": loss for band, loss in enumerate(check.losses)}
            self._track(losses, check.step)

    def saved(self, step: int) -> None:
        """Write an event."""
        self._events.write("checkpoint", step=step)

    def sampled(self, step: int, round: int, file: str) -> None:
        """Write an event."""
        self._events.write("sample", step=step, round=round, file=file)

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

    def take(self) -> tuple[int, float, float]:
        """(steps, loss, kept) since the last time; with no steps, the means of that time."""
        count = self._count
        if count:
            self._last = (self._loss / count, self._kept / count)
        self._loss = self._kept = 0.0
        self._count = 0
        return (count, *self._last)


def mean_figures(of_ranks: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Mean loss and share kept over the steps of all ranks, each (steps, loss, kept, ...)."""
    steps = max(1, sum(count for count, *_ in of_ranks))
    loss = sum(count * mean for count, mean, *_ in of_ranks) / steps
    kept = sum(count * share for count, _, share, *_ in of_ranks) / steps
    return loss, kept


def round_to_ms(seconds: float) -> float:
    """Seconds to three places: finer is noise."""
    return round(seconds, 3)
