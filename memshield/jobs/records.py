"""Records of the store: jobs and their tasks. The state of a run is in its directory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from memshield.errors import UserError

Kind = Literal["train", "audit", "publish", "measure", "sample", "audit_model"]
REQUEST_KINDS: tuple[Kind, ...] = ("measure", "sample")
"""Kinds of tasks that stand alone, without a run, and of which an owner has one."""
State = Literal["queued", "running", "ended"]
LOCAL = ""
"""Owner of everything where nobody signs in."""


class UnansweredError(UserError):
    """A place did not answer a start, which may have happened: `find` tells later."""


@dataclass(frozen=True)
class Place:
    """A place other than this machine, and what was agreed on it.

    Attributes:
        hardware: its name there.
        seconds: after which it ends a task, which saves before.
        run: its id there.
        mark: of a task that another store began.
        found: whether another store began the run: nothing of it is read from this machine.
        task: name and arguments of a command on the run; () to train it.
        reads: beginning of the paths in the run directory that the task is about.
    """

    hardware: str
    seconds: int
    run: str = ""
    mark: str = ""
    found: bool = False
    task: tuple[str, ...] = ()
    reads: str = ""

    def to_json(self) -> str:
        """For the store."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Place | None:
        """From the store; None for "", which is this machine."""
        if not text:
            return None
        values = json.loads(text)
        return cls(**{**values, "task": tuple(values.get("task", ()))})


@dataclass(frozen=True)
class Found:
    """A run that a place has, whoever began it.

    Attributes:
        place: where; with its id and the mark of its newest task.
        name: of its run folder.
        settings: values by name.
        created: when its newest task was started.
    """

    place: Place
    name: str
    settings: Mapping[str, Any]
    created: float


@dataclass(frozen=True)
class Work:
    """A task to be queued.

    Attributes:
        kind: what it does.
        command: its argument list.
        needs_device: whether it takes a device of its own.
        needs_token: whether it must not start without its owner's token.
        place: where it runs; None for this machine.
    """

    kind: Kind
    command: tuple[str, ...]
    needs_device: bool = True
    needs_token: bool = False
    place: Place | None = None


@dataclass(frozen=True)
class Task:
    """One command of a job.

    Attributes:
        number: its place in the order in which tasks were queued.
        job: id of the job.
        work: what is run.
        state: queued, running or ended.
        device: that it has taken.
        server: which server started or adopted it; see `processes.ServerProcess`.
        pid, start_time: of its start; see `backends.seam.Begun`.
        started: when it left the queue to be run; None where it never was.
        stop_asked: when it was asked to stop.
        exit_code: of the process, where its parent lived to see it or it noted it itself.
        problem: why it could not be started, or what the user has to mend, in words.
    """

    number: int
    job: str
    work: Work
    state: State
    device: str | None
    server: str | None
    pid: int | None
    start_time: float | None
    started: float | None
    stop_asked: float | None
    exit_code: int | None
    problem: str | None

    @property
    def mark(self) -> str:
        """The value of `MARK` in the environment of its processes, which identifies them."""
        found = self.work.place.mark if self.work.place is not None else ""
        return found or f"{self.job}:{self.number}"


@dataclass(frozen=True)
class Job:
    """A run, a request or an audit, as the store knows it.

    Attributes:
        id: unguessable.
        owner: a Hub user name, or `LOCAL`.
        name: of its run folder.
        created: seconds since the epoch.
        tasks: oldest first.
        given: the title; "" in a store of an older version.
    """

    id: str
    owner: str
    name: str
    created: float
    tasks: tuple[Task, ...]
    given: str = ""

    @property
    def title(self) -> str:
        """What people call it."""
        return self.given or self.name

    @property
    def kind(self) -> Kind:
        """The kind of its first task: train for a run, or what stands alone."""
        return self.tasks[0].work.kind

    @property
    def is_run(self) -> bool:
        """Whether it has a run directory."""
        return self.kind == "train"

    @property
    def is_found(self) -> bool:
        """Whether another store began it, on another computer."""
        places = (task.work.place for task in self.tasks)
        return any(place is not None and place.found for place in places)

    @property
    def current(self) -> Task | None:
        """The task that waits or runs; a job has at most one."""
        return next((task for task in self.tasks if task.state != "ended"), None)

    def last(self, *kinds: Kind) -> Task | None:
        """Its newest task of these kinds."""
        found = [task for task in self.tasks if task.work.kind in kinds]
        return found[-1] if found else None
