"""Jobs that are no runs: their folder, their place in the queue, their stop."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from collections.abc import Callable, Sequence

from memshield.errors import UserError
from memshield.jobs.commands import Commands
from memshield.jobs.folders import Folders, require_owner
from memshield.jobs.records import LOCAL, Job, Kind, Work
from memshield.jobs.scheduler import Scheduler
from memshield.jobs.store import Store
from memshield.jobs.task_progress import TaskProgress
from memshield.jobs.tokens import Tokens
from memshield.jobs.view import request_progress


class RunlessJobs:
    """What all kinds of such jobs share; each has one task.

    Args:
        store, folders, commands, scheduler, tokens: of the server.
        most_queued: tasks that one owner may have in the queue.
        now: the time, in seconds since the epoch.
    """

    def __init__(
        self,
        store: Store,
        folders: Folders,
        commands: Commands,
        scheduler: Scheduler,
        tokens: Tokens,
        most_queued: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._folders = folders
        self._commands = commands
        self._scheduler = scheduler
        self._tokens = tokens
        self._most_queued = most_queued
        self._now = now
        self._turn = threading.Lock()

    def _new(self, owner: str, name: str) -> Job:
        """A job; its folder is not made yet."""
        require_owner(owner)
        return Job(secrets.token_urlsafe(16), owner, name, self._now(), ())

    def _make_folder(self, job: Job, fill: Callable[[], None]) -> None:
        """Make a job's folder, and write into it."""
        try:
            self._folders.make(job.id)
            fill()
        except OSError as error:
            shutil.rmtree(self._folders.job(job.id), ignore_errors=True)
            raise UserError(
                "job", f"its folder cannot be made: {error.strerror}",
                "Make room on the server's disk.",
            ) from None  # fmt: skip

    def _add(self, job: Job, kind: Kind, command: Sequence[str], needs_token: bool) -> str:
        """Queue a job; one that is not taken leaves no folder."""
        work = Work(kind, tuple(command), True, needs_token and job.owner != LOCAL)
        try:
            self._store.add(job, work, self._most_queued)
        except UserError:
            shutil.rmtree(self._folders.job(job.id))
            raise
        self._scheduler.wake()
        return job.id

    def _progress(self, job: Job, what: str = "It") -> tuple[TaskProgress, int | None]:
        """How a job goes, and its position in the queue; see `view.request_progress`."""
        task = job.current
        position = None if task is None else self._store.position(task)
        may_start = task is None or self._scheduler.may_start(job.owner, task.work)
        progress = request_progress(job, self._folders, position, may_start, what)
        return progress.without_tokens(self._tokens.hide), position

    def _stop(self, job: Job | None) -> None:
        """Stop a job, or take it out of the queue.

        Raises:
            UserError: there is nothing to stop.
        """
        task = None if job is None else job.current
        if task is None:
            raise UserError("job", "nothing of it runs or waits", "There is nothing to stop.")
        if not self._store.withdraw(task):
            self._store.ask_to_stop(task, self._now())
        self._scheduler.wake()
