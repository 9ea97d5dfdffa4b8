"""The runs of all owners on a server, as their owners read them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from memshield.config.file import Config, make_config, read_yaml
from memshield.jobs import logs
from memshield.jobs.folders import Folders, is_id
from memshield.jobs.records import Job
from memshield.jobs.scheduler import Scheduler
from memshield.jobs.store import Store, no_such_job
from memshield.jobs.tokens import Tokens
from memshield.jobs.view import JobView, view_of
from memshield.rundir import RunDir


class OwnedRuns:
    """Reads runs. One of another owner is answered exactly like one that does not exist.

    Args:
        store: of jobs.
        folders: where everything lies.
        tokens: of who is signed in; the page gives and forgets them.
        scheduler: starts what was submitted once it runs.
        now: the time, in seconds since the epoch.
    """

    def __init__(
        self, store: Store, folders: Folders, tokens: Tokens, scheduler: Scheduler,
        now: Callable[[], float],
    ) -> None:  # fmt: skip
        self._store, self.folders, self.tokens = store, folders, tokens
        self.scheduler, self._now = scheduler, now

    def get(self, owner: str, id: str) -> Job:
        """A job of an owner.

        Raises:
            UserError: the owner has no such job.
        """
        job = self._store.job(id) if is_id(id) else None
        if job is None or job.owner != owner or not job.is_run:
            raise no_such_job(id)
        return job

    def list(self, owner: str) -> list[Job]:
        """The runs of an owner, newest first."""
        return [job for job in self._store.jobs_of(owner) if job.is_run]

    def position(self, job: Job) -> int | None:
        """Position of its task in the queue, from 1; None where no task waits."""
        task = job.current
        return self._store.position(task) if task is not None else None

    def view(self, owner: str, id: str) -> JobView:
        """A job for a page.

        Raises:
            UserError: the owner has no such job.
        """
        return self.view_of(self.get(owner, id))

    def view_of(self, job: Job) -> JobView:
        """The view of a job that was looked up already."""
        task = job.current
        may_start = task is None or self.scheduler.may_start(job.owner, task.work)
        view = view_of(job, self.folders, self.position(job), may_start, self._now())
        return view.without_tokens(self.tokens.hide)

    def config(self, owner: str, id: str) -> Config:
        """The settings that a job is started with.

        Raises:
            UserError: the owner has no such job.
        """
        self.get(owner, id)
        return make_config(read_yaml(self.folders.settings(id)))

    def log(self, owner: str, id: str, lines: int = 200) -> str:
        """The last lines that the newest task of a job printed.

        Raises:
            UserError: the owner has no such job.
        """
        path = self._printed(self.get(owner, id))
        return "" if path is None else self.tokens.hide("\n".join(logs.tail(path, lines)))

    def log_size(self, job: Job) -> int:
        """Bytes that the newest task of a job printed; more of them mean that `log` has changed."""
        return logs.size_of(self._printed(job))

    def _printed(self, job: Job) -> Path | None:
        begun = [task.number for task in job.tasks if task.started is not None]
        return self.folders.log(job.id, begun[-1]) if begun else None

    def _run(self, owner: str, id: str) -> RunDir:
        return self.folders.run(self.get(owner, id))
