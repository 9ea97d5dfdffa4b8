"""Audits of models that are no run's: jobs like others, with a report in place of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from memshield.audit.progress_file import AuditProgress, read_audit_progress
from memshield.jobs import logs
from memshield.jobs.commands import as_typed
from memshield.jobs.folders import is_id, name_from, require_owner
from memshield.jobs.model_audit_request import (
    ModelAuditArguments,
    make_model_audit,
    read_arguments,
    write_arguments,
)
from memshield.jobs.records import Job
from memshield.jobs.runless import RunlessJobs
from memshield.jobs.store import no_such_job
from memshield.jobs.task_progress import TaskProgress
from memshield.rundir import RunDir

Action = Literal["stop", "delete"]


@dataclass(frozen=True)
class ModelAudit:
    """An audit as its owner sees it.

    Attributes:
        id, created: of its job.
        arguments: what is audited.
        progress: how it goes.
        phase: how far the running audit is; None where none runs.
        position: in the queue, from 1; None where it does not wait.
        folder: with the report, once there is one.
        command: to copy.
        actions: that it allows now.
    """

    id: str
    created: float
    arguments: ModelAuditArguments
    progress: TaskProgress
    phase: AuditProgress | None
    position: int | None
    folder: Path
    command: str
    actions: tuple[Action, ...]

    @property
    def name(self) -> str:
        """What to call it: the model's id, or the name of its folder."""
        named = self.arguments.model
        return Path(named).name if Path(named).is_absolute() else named

    @property
    def busy(self) -> bool:
        """Whether there is more to come."""
        return "stop" in self.actions or self.progress.state == "stopping"


class ModelAudits(RunlessJobs):
    """The audits of all owners; see `RunlessJobs`."""

    def submit(self, owner: str, values: Mapping[str, object], needs_token: bool = False) -> str:
        """Queue an audit.

        Args:
            owner: who is signed in, or `LOCAL`.
            values: see `make_model_audit`.
            needs_token: whether something of it can only be read with the owner's token.

        Returns:
            Its id.

        Raises:
            UserError: a value is wrong or not open to this owner, or too many wait.
        """
        require_owner(owner)
        arguments = make_model_audit(owner, values, self._folders)
        job = self._new(owner, name_from(arguments.model.rpartition("/")[2]))
        folder = self._folders.results(job.id)

        def fill() -> None:
            folder.mkdir(mode=0o700)
            write_arguments(self._folders, job.id, arguments)

        self._make_folder(job, fill)
        command = self._commands.audit_model(arguments.words(folder))
        return self._add(job, "audit_model", command, needs_token)

    def list(self, owner: str) -> list[ModelAudit]:
        """The audits of an owner, newest first."""
        jobs = self._store.jobs_of(owner)
        return [self._view(job) for job in jobs if job.kind == "audit_model"]

    def get(self, owner: str, id: object) -> ModelAudit:
        """An audit of an owner.

        Raises:
            UserError: the owner has no such audit.
        """
        return self._view(self._job(owner, id))

    def log(self, owner: str, id: object, lines: int = 200) -> str:
        """The last lines that an audit printed.

        Raises:
            UserError: the owner has no such audit.
        """
        job = self._job(owner, id)
        path = self._folders.log(job.id, job.tasks[-1].number)
        return self._tokens.hide("\n".join(logs.tail(path, lines)))

    def stop(self, owner: str, id: object) -> None:
        """Stop an audit, or take it out of the queue.

        Raises:
            UserError: there is no such audit, or nothing to stop.
        """
        self._stop(self._job(owner, id))

    def delete(self, owner: str, id: object) -> None:
        """Delete an audit with its report and pictures.

        Raises:
            UserError: there is no such audit, or it is running.
        """
        self._store.hide(self._job(owner, id))
        self._scheduler.wake()

    def _job(self, owner: str, id: object) -> Job:
        job = self._store.job(str(id)) if is_id(id) else None
        if job is None or job.owner != owner or job.kind != "audit_model":
            raise no_such_job(str(id))
        return job

    def _view(self, job: Job) -> ModelAudit:
        folder = self._folders.results(job.id)
        progress, position = self._progress(job, "The audit")
        arguments = read_arguments(self._folders, job.id)
        return ModelAudit(
            job.id,
            job.created,
            arguments,
            progress,
            read_audit_progress(RunDir(folder)) if job.current is not None else None,
            position,
            folder,
            as_typed(self._commands.audit_model(arguments.words(Path("report")))),
            _actions(job),
        )


def _actions(job: Job) -> tuple[Action, ...]:
    task = job.current
    if task is None:
        return ("delete",)
    if task.stop_asked is not None:
        return ()
    return ("stop", "delete") if task.state == "queued" else ("stop",)
