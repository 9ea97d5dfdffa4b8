"""The state of a job's task as data: in a word, in words, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

from memshield.jobs.folders import Folders
from memshield.jobs.logs import tail, without_launcher
from memshield.jobs.records import Job, Task
from memshield.jobs.told import Told
from memshield.jobs.words import TITLES, State
from memshield.rundir import RunDir

LAST_LINES = 30


@dataclass(frozen=True)
class TaskProgress:
    """The state of one side of a job: its training, its audit or its publication.

    Attributes:
        state: for programs.
        words: the state for people.
        reason: why it is so and what to do, in words.
        last_lines: of its output, where something went wrong.
        refused: whether the last start failed: the state is that before it, and what
            else is here says why.
    """

    state: State
    words: str
    reason: str | None = None
    last_lines: tuple[str, ...] = ()
    refused: bool = False

    @classmethod
    def titled(
        cls, state: State, reason: str | None = None, last_lines: tuple[str, ...] = ()
    ) -> Self:
        """A state under its title, with its reason."""
        return cls(state, TITLES[state], reason, last_lines)

    def without_tokens(self, hide: Callable[[str], str]) -> Self:
        """The same, with everything that a process printed put through `hide`."""
        reason = self.reason and hide(self.reason)
        return replace(self, reason=reason, last_lines=tuple(map(hide, self.last_lines)))


@dataclass(frozen=True)
class JobRecord:
    """A job's record in the store, and the states that follow from it."""

    job: Job
    folders: Folders
    position: int | None
    may_start: bool
    told: Told | None = None

    def checkpoint(self, run: RunDir) -> int | None:
        """Step of the last checkpoint, wherever it lies."""
        here = max(run.checkpoints(), default=None)
        return here if self.told is None else self.told.checkpoint

    def waiting(self) -> TaskProgress:
        """The state of a task in the queue."""
        if not self.may_start and self.job.tasks[-1].work.place is not None:
            return TaskProgress.titled(
                "needs_sign_in", "It runs on Jobs in your name: sign in for Jobs, under New "
                "training, and it goes on by itself.",
            )  # fmt: skip
        if not self.may_start:
            return TaskProgress.titled(
                "needs_sign_in",
                "It needs your Hugging Face account, and the server does not keep tokens. "
                "Sign in again and it goes on by itself.",
            )
        if self.position is None:  # it left the queue a moment ago
            return TaskProgress("preparing", "Starting")
        return TaskProgress("waiting", f"Waiting, number {self.position} in the queue")

    def lines(self, task: Task) -> tuple[str, ...]:
        """The last lines of a task's output."""
        found = tail(self.folders.log(self.job.id, task.number), 4 * LAST_LINES)
        return tuple(without_launcher(found)[-LAST_LINES:])

    def ended(self, task: Task, what: str) -> TaskProgress:
        """The state of a task that left no reason behind."""
        if task.problem:
            # Elsewhere it may have begun, and its output came back.
            lines = () if task.work.place is None else self.lines(task)
            return TaskProgress.titled("failed", task.problem, lines)
        if task.started is None:
            return TaskProgress("stopped", "Taken out of the queue")
        if task.stop_asked is not None:
            return TaskProgress.titled("stopped")
        if task.exit_code == 0:
            return TaskProgress.titled("done")
        if task.exit_code is None or task.exit_code < 0:
            return TaskProgress.titled(
                "died",
                f"{what} was ended from outside. Start it again.",
                self.lines(task),
            )
        return TaskProgress.titled(
            "failed", f"{what} ended with an error; its last lines say which.",
            self.lines(task),
        )  # fmt: skip


def of_task(place: JobRecord, task: Task, what: str) -> TaskProgress:
    """The state of a task that writes none of its own.

    Args:
        place: the job.
        task: of it.
        what: to call it, at the beginning of a sentence.
    """
    if task.state == "queued":
        return place.waiting()
    if task.state == "ended":
        return place.ended(task, what)
    if task.stop_asked is not None:
        return TaskProgress.titled("stopping")
    return TaskProgress.titled("running")
