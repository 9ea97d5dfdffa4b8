"""The seam between what is to run and where it runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from memshield.jobs.records import Found, Work
from memshield.rundir import RunDir

GRACE = 600.0
"""Seconds from a stop that has arrived to ending a task: a step, a checkpoint of many gigabytes on
a slow disk, and elsewhere its copy."""


class Begun(NamedTuple):
    """The trace of a start, which the store keeps.

    Attributes:
        time: of the start, in seconds since the epoch, on the clock that status.json is written by.
        pid: of its process, where it is one of this machine.
    """

    time: float
    pid: int | None = None


class Look(NamedTuple):
    """The state of what was started.

    Attributes:
        runs: whether anything of it does.
        exit_code: of what has ended; None where nobody saw it.
        problem: why it has ended, in words for a page, where something is known.
        stopped: whether somebody stopped it, perhaps from elsewhere.
    """

    runs: bool
    exit_code: int | None = None
    problem: str | None = None
    stopped: bool = False


@dataclass(frozen=True)
class Order:
    """A task for a backend.

    Attributes:
        mark: identifies it among all that the backend runs.
        owner: of the job; `LOCAL` where nobody signs in.
        work: what is run.
        run: the run directory here. A backend that runs elsewhere brings it here.
        settings: config file of the job.
        output: file here for what the command prints.
        device: that it may use; None for none.
        begun: what `start` or `find` gave; None before.
        told: file here for what else a backend knows of it; see `memshield.jobs.told`.
    """

    mark: str
    owner: str
    work: Work
    run: RunDir
    settings: Path
    output: Path
    device: str | None = None
    begun: Begun | None = None
    told: Path | None = None


class Backend(Protocol):
    """A place where tasks run, which outlive the process that started them."""

    def start(self, order: Order, token: str | None) -> Begun:
        """Start a task.

        Args:
            order: the task.
            token: its owner's, if there is one.

        Raises:
            UserError: it was refused.
            records.UnansweredError: it may have been started all the same.
            OSError: it cannot be started.
        """

    def find(self, order: Order) -> Begun | None:
        """What a process that is lost by now started of a task, if it is there."""

    def may_have_run(self, order: Order) -> bool:
        """Whether a task that `find` does not see may have been started."""

    def look(self, order: Order) -> Look:
        """The state of a task; its output and its run directory are here afterwards.

        Raises:
            UserError: it cannot be told now.
        """

    def stop(self, order: Order) -> None:
        """Ask a task to save and to end; harmless when repeated.

        Raises:
            UserError: it cannot be asked now.
        """

    def kill(self, order: Order) -> None:
        """End a task at once."""

    def has_news(self) -> bool:
        """Whether a look at once is worth it: something has ended."""


class Elsewhere(Backend, Protocol):
    """A place of many owners that is not this machine: starting may take minutes."""

    def new_run(self, name: str) -> str:
        """An id there for a run of this name, which no other has."""

    def forget(self, order: Order) -> None:
        """Delete what the place keeps of a task's run.

        Raises:
            UserError: it cannot be deleted now.
        """

    def runs_of(self, owner: str) -> Iterable[Found]:
        """The runs of an owner that the place has.

        Raises:
            UserError: it cannot be asked now.
        """

    def close(self) -> None:
        """End all threads; what runs goes on."""
