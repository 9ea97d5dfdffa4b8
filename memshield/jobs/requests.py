"""Requests: commands that belong to no run, such as measuring a training before it is started.

An owner has one request of a kind: a new one takes the place of the one before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from memshield.errors import UserError
from memshield.hub.catalog.access import require_id
from memshield.jobs.admission import require_run_allowed
from memshield.jobs.commands import as_typed
from memshield.jobs.folders import is_id
from memshield.jobs.records import REQUEST_KINDS, Job, Kind
from memshield.jobs.runless import RunlessJobs
from memshield.jobs.sample_request import read_sample_arguments, write_sample_arguments
from memshield.jobs.settings import accepted, write_settings
from memshield.jobs.store import no_such_job
from memshield.jobs.task_progress import TaskProgress
from memshield.rundir import RunDir
from memshield.runs.promote import require_round
from memshield.sampling.request import ImageRequest, SampleArguments

PLAN = "plan.json"


@dataclass(frozen=True)
class Request:
    """A request as its owner sees it.

    Attributes:
        id: of its job.
        progress: how it goes.
        position: in the queue, from 1; None where it does not wait.
        command: to copy.
        results: folder of what it made; it may not be there yet.
        arguments: which pictures are to be drawn; None for another kind of request.
    """

    id: str
    progress: TaskProgress
    position: int | None
    command: str
    results: Path
    arguments: SampleArguments | None

    @property
    def busy(self) -> bool:
        """Whether there is more to come."""
        return self.progress.state in (
            "waiting", "needs_sign_in", "preparing", "running", "stopping"
        )  # fmt: skip


class Requests(RunlessJobs):
    """The requests of all owners; see `RunlessJobs`."""

    def measure(self, owner: str, values: Mapping[str, Any], needs_token: bool = False) -> str:
        """Queue a few steps of a training, which measure its time and memory.

        The result is the file `PLAN`; see `forecast.estimate.measured_estimate`.

        Args:
            owner, values, needs_token: as of `Jobs.submit`.

        Returns:
            The request's id.

        Raises:
            UserError: a setting is wrong or not open to this owner, or one is under way.
        """
        # Of two requests at the same time one would be a request that nobody can see or stop.
        with self._turn:
            job = self._next(owner, "measure")
            write_settings(self._folders, job, accepted(owner, values, self._folders), new=True)
            words = self._commands.measure(
                self._folders.settings(job.id), self._folders.results(job.id) / PLAN
            )
            return self._replace(job, "measure", words, needs_token)

    def sample(
        self,
        owner: str,
        repo_id: str,
        revision: str,
        request: ImageRequest,
        against: str | None = None,
        needs_token: bool = False,
    ) -> str:
        """Queue pictures of a published model.

        They are among the results, with samples.json; see `sampling.record.read_samples`.

        Args:
            owner: who is signed in, or `LOCAL`.
            repo_id, revision: of the model, which is a commit.
            request: which pictures.
            against: id of the owner's run that the model came from.
            needs_token: whether something of it can only be read with the owner's token.

        Returns:
            The request's id.

        Raises:
            UserError: the owner has no such run, or pictures are being made.
        """
        name = require_id(repo_id, "model", "repo_id")
        run = None if against is None else self._run_of(owner, against).path
        arguments = SampleArguments(name, request, revision=revision, against=run)
        return self._sample(owner, arguments, needs_token)

    def sample_run(self, owner: str, id: str, round: object, request: ImageRequest) -> str:
        """Queue pictures of a run's model, which are compared with its training pictures.

        Args:
            owner: who is signed in, or `LOCAL`.
            id: of the run.
            round: number of a round; None for the model.
            request: which pictures.

        Returns:
            The request's id.

        Raises:
            UserError: the owner has no such run, model or round, or pictures are being made.
        """
        run = self._run_of(owner, id)
        number = None if round is None else require_round(run, round)
        if number is None and not run.model.is_dir():
            raise UserError("round", "there is no such model yet", "Wait for it to be trained.")
        job = self._store.job(id)
        assert job is not None
        arguments = SampleArguments(str(run.path), request, round=number)
        return self._sample(owner, arguments, job.tasks[0].work.needs_token)

    def _sample(self, owner: str, arguments: SampleArguments, needs_token: bool) -> str:
        with self._turn:
            job = self._next(owner, "sample")
            drawn = replace(arguments, output_dir=self._folders.results(job.id))
            self._make_folder(job, lambda: write_sample_arguments(self._folders, job.id, drawn))
            return self._replace(job, "sample", self._commands.sample(drawn), needs_token)

    def view(self, owner: str, kind: Kind) -> Request | None:
        """An owner's request of a kind; None where there is none."""
        job = self._newest(owner, kind)
        if job is None:
            return None
        progress, position = self._progress(job)
        return Request(
            job.id,
            progress,
            position,
            as_typed(job.tasks[-1].work.command),
            self._folders.results(job.id),
            read_sample_arguments(self._folders, job) if kind == "sample" else None,
        )

    def stop(self, owner: str, kind: Kind) -> None:
        """Stop an owner's request, or take it out of the queue.

        Raises:
            UserError: none is under way.
        """
        self._stop(self._newest(owner, kind))

    def _newest(self, owner: str, kind: Kind) -> Job | None:
        assert kind in REQUEST_KINDS
        found = (job for job in self._store.jobs_of(owner) if job.kind == kind)
        return next(found, None)

    def _next(self, owner: str, kind: Kind) -> Job:
        """A job for a request, if none of its kind is under way."""
        before = self._newest(owner, kind)
        if before is not None and before.current is not None:
            words = "waits" if before.current.state == "queued" else "is running"
            raise UserError("job", f"one of yours {words} already", "Stop it, or wait for it.")
        return self._new(owner, kind)

    def _run_of(self, owner: str, id: str) -> RunDir:
        """The run directory of an owner's job, whose settings this owner may have."""
        job = self._store.job(id) if is_id(id) else None
        if job is None or job.owner != owner or not job.is_run:
            raise no_such_job(id)
        run = self._folders.run(job)
        require_run_allowed(run, owner, self._folders)
        return run

    def _replace(self, job: Job, kind: Kind, command: Sequence[str], needs_token: bool) -> str:
        """Queue a request in place of the one before it."""
        before = self._newest(job.owner, kind)
        self._add(job, kind, command, needs_token)
        if before is not None:
            self._store.hide(before)
            self._scheduler.wake()
        return job.id
