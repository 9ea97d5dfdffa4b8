"""The jobs of all owners on a server; the page and its API call these methods.

Every call names its owner. What only reads is in `memshield.jobs.owned`.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from memshield.errors import UserError
from memshield.jobs.audit_request import AuditAsked
from memshield.jobs.backends.local import LocalProcesses
from memshield.jobs.backends.seam import Backend
from memshield.jobs.commands import Commands
from memshield.jobs.environment import CPU, find_devices
from memshield.jobs.folders import Folders, name_from, require_owner
from memshield.jobs.limits import JobLimits
from memshield.jobs.liveness import runs_elsewhere
from memshield.jobs.model_audits import ModelAudits
from memshield.jobs.owned import OwnedRuns
from memshield.jobs.places import MakeElsewhere, Places
from memshield.jobs.records import LOCAL, Job, Place, Work
from memshield.jobs.requests import Requests
from memshield.jobs.scheduler import Scheduler
from memshield.jobs.settings import (
    accepted,
    changed_config,
    changed_values,
    plain_name,
    plain_values,
    publishing_settings,
    reads_anew,
    require_new,
    write_settings,
)
from memshield.jobs.storage import OwnerStorage
from memshield.jobs.store import Store
from memshield.jobs.titles import Titles, default_title, plain_title
from memshield.jobs.tokens import Tokens
from memshield.jobs.view import lacks_files
from memshield.runs.promote import promote_alone


class Jobs(OwnedRuns):
    """All jobs below one folder.

    Args:
        root: of the store, the runs, uploads and caches.
        devices: each runs one task at a time; by default the GPUs, or the CPU.
        commands: makes argument lists.
        limits: see `JobLimits`.
        environment: of the server, which its tasks inherit but for secrets.
        now: the time, in seconds since the epoch.
        store: file of the store, where SQLite cannot work below the root; a copy is kept there.
        backend: runs tasks; by default in processes of this machine.
        elsewhere: see `Places`.

    Attributes:
        requests: what belongs to no run.
        model_audits: audits of models that are no run's.
        owner_storage: what is kept of owners beside their runs.
        titles: changes what people call their runs.
        places: what runs have in another place.

    Raises:
        UserError: the store cannot be opened.
    """

    def __init__(
        self,
        root: Path | str,
        devices: Sequence[str] | None = None,
        commands: Commands | None = None,
        limits: JobLimits | None = None,
        environment: Mapping[str, str] = os.environ,
        now: Callable[[], float] = time.time,
        store: Path | None = None,
        backend: Backend | None = None,
        elsewhere: MakeElsewhere | None = None,
    ) -> None:
        devices = find_devices(environment) if devices is None else devices
        folders, tokens = Folders(root), Tokens(now)
        if store is not None:
            store.parent.mkdir(parents=True, exist_ok=True)
        own = folders.store
        opened = Store(own) if store is None else Store(store, copy=own)
        self._commands = commands or Commands(on_gpu=CPU not in devices)
        self._limits = limits = limits or JobLimits()
        self._turn = threading.Lock()
        self._promoting: set[str] = set()
        self.places = Places(opened, folders, self._commands, tokens, Tokens(now), elsewhere)
        scheduler = Scheduler(
            opened, folders, tokens, backend or LocalProcesses(folders, environment), devices,
            limits.without_device, limits.grace, now, self.places.backend, self.places.token_of,
        )  # fmt: skip
        super().__init__(opened, folders, tokens, scheduler, now)
        self.owner_storage = OwnerStorage(self._store, self.folders)
        self.titles = Titles(self._store, self.get)
        shared = (self._store, self.folders, self._commands, self.scheduler, self.tokens)
        self.requests = Requests(*shared, limits.queued, now)
        self.model_audits = ModelAudits(*shared, limits.queued, now)

    def close(self) -> None:
        """Close the store; running tasks go on."""
        self.scheduler.close()
        self.places.backend.close()
        self._store.close()

    # Requests

    def submit(
        self,
        owner: str,
        values: Mapping[str, Any],
        name: str | None = None,
        needs_token: bool = False,
        title: str | None = None,
        place: Place | None = None,
    ) -> Job:
        """Queue a training.

        Args:
            owner: who is signed in, or `LOCAL`.
            values: settings by name. output_dir is the server's to choose and is ignored.
            name: of its run folder; by default that of the dataset.
            needs_token: whether the model or dataset can only be read with the owner's token.
            title: for people; by default the name, or that of model and dataset.
            place: where it runs; None for this machine.

        Raises:
            UserError: a setting is wrong or not open to this owner, or too many wait.
        """
        require_owner(owner)
        id = secrets.token_urlsafe(16)
        config = accepted(owner, values, self.folders)
        shown = name or Path(config.dataset_name or config.train_data_dir or "").name
        title = title or name or default_title(config, owner, self.folders)
        job = Job(id, owner, name_from(shown), self._now(), (), title)
        write_settings(self.folders, job, config, new=True)
        work = self._training(job, needs_token or config.push_to_hub, place)
        try:
            self._store.add(job, work, self._limits.queued)
        except UserError:
            shutil.rmtree(self.folders.job(id))
            raise
        self.scheduler.wake()
        return self.get(owner, id)

    def stop(self, owner: str, id: str) -> None:
        """Stop a job so that it can be resumed, or take it out of the queue.

        Raises:
            UserError: there is no such job, or nothing to stop.
        """
        job = self.get(owner, id)
        task = job.current
        if task is None:
            raise UserError("job", "nothing of it runs or waits", "There is nothing to stop.")
        if not self._store.withdraw(task):
            self.places.require_reach(job, task)
            self._store.ask_to_stop(task, self._now())
        self.scheduler.wake()

    def resume(self, owner: str, id: str, changes: Mapping[str, Any] | None = None) -> Job:
        """Queue the same training again, to go on from its last checkpoint.

        Args:
            owner, id: of the job.
            changes: settings that shall differ from now on, such as those that save memory.

        Raises:
            UserError: there is no such job, it is busy or done, or a change is wrong.
        """
        job = self._idle(owner, id)
        run = self.folders.run(job)
        if run.read_status().get("state") == "done":
            raise UserError("job", "its training is done", "Audit or publish it.")
        changed = changed_config(self.folders, job, changes) if changes else None
        config = changed or self.config(owner, id)
        needs_token = job.tasks[0].work.needs_token or config.push_to_hub
        work = self._training(job, needs_token, self.places.again(job))
        if changed is None:
            return self._queue(job, work)
        # A start that is refused changes no settings of the next one.
        return self._queue(job, work, partial(write_settings, self.folders, job, changed))

    def fetch(self, owner: str, id: str) -> None:
        """Bring the files of a training here that was done elsewhere, once more.

        Raises:
            UserError: there is no such job, it is busy, or its files are here.
        """
        job = self._idle(owner, id)
        task = job.last("train")
        if task is None or not lacks_files(job, self.folders.run(job)):
            raise UserError("job", "its files are here", "Audit or publish it.")
        if task.start_time is None:  # to look for it would start it
            raise UserError("job", "it never began, so it has no files", "Resume it.")
        self._store.run_again(job, task)
        self.scheduler.wake()

    def submit_changed(self, owner: str, id: str, changes: Mapping[str, Any]) -> Job:
        """Queue a training with the settings of a job, some of them changed, as another job.

        Raises:
            UserError: there is no such job, or a change is wrong.
        """
        job = self.get(owner, id)
        private = job.tasks[0].work.needs_token or reads_anew(changes)
        values = changed_values(self.folders, job, changes)
        return self.submit(owner, values, job.name, private, job.title, self.places.anew(job))

    def audit(
        self,
        owner: str,
        id: str,
        round: int | Literal["all"] | None = None,
        num_images: int | None = None,
        beside: Sequence[str] = (),
        there: bool = False,
    ) -> Job:
        """Queue an audit of a job's model.

        Args:
            owner, id: of the job.
            round: to audit instead of the model; "all" for every one, to choose from.
            num_images: to generate; None for the default.
            beside: ids of other audited jobs to show beside it, or base.
            there: whether it is audited where it was trained; what is beside it is here then.

        Raises:
            UserError: there is no such job, model or round, or the job is busy.
        """
        job, base = self._idle(owner, id), [one for one in beside if one == "base"]
        others = [str(self._run(owner, one).path) for one in beside if one not in base]
        asked = AuditAsked(round, num_images, base if there else [*base, *others])
        run, private = self.folders.run(job), job.tasks[0].work.needs_token
        task = asked.task(run, self.config(owner, id))
        if there:
            return self._queue(job, self.places.on_run(job, task, asked.reads, private))
        command = tuple(self._commands.on_run(run.path, task))
        return self._queue(job, Work("audit", command, True, private))

    def promote(self, owner: str, id: str, round: int, reason: str = "chosen by hand") -> None:
        """Make a round of a job its model, at once, whether it was audited or not.

        Raises:
            UserError: there is no such job or round, the job is busy, or the disk is full.
        """
        with self._turn:
            run = self.folders.run(self._idle(owner, id))
            self._promoting.add(id)
        try:
            promote_alone(run, round, reason)
        finally:
            self._promoting.discard(id)

    def submit_plain(self, owner: str, id: str) -> Job:
        """Queue the same training without mitigation, as a job of its own, to compare with.

        Raises:
            UserError: there is no such job, it is plain itself, or its plain one is there.
        """
        job = self.get(owner, id)
        values = plain_values(self.folders.run(job), self.folders.settings(id))
        others = [(one.title, self.config(owner, one.id)) for one in self.list(owner)]
        require_new(accepted(owner, values, self.folders), others)
        title, private = plain_title(job.title), job.tasks[0].work.needs_token
        name, place = plain_name(job.name), self.places.anew(job)
        return self.submit(owner, values, name, private, title, place)

    def publish(
        self,
        owner: str,
        id: str,
        changes: Mapping[str, Any] | None = None,
        beside: Mapping[str, str] | None = None,
    ) -> Job:
        """Queue the publication of a job's model; a second call continues an interrupted one.

        Args:
            owner, id: of the job.
            changes: settings of publishing that differ from those of the run.
            beside: ids of other audited jobs to show on the card, by name.

        Raises:
            UserError: there is no such job or model, the job is busy, or a setting is wrong.
        """
        job = self._idle(owner, id)
        run = self.folders.run(job)
        if not run.model.is_dir():
            raise UserError("job", "it has no model yet", "Train it to its end first.")
        settings = publishing_settings(run, changes or {})
        others = {
            name_from(name): self._run(owner, other).path for name, other in (beside or {}).items()
        }
        command = self._commands.publish(run.path, settings, others)
        return self._queue(job, Work("publish", tuple(command), False, owner != LOCAL))

    def delete(self, owner: str, id: str) -> None:
        """Delete a job with all its files.

        Raises:
            UserError: there is no such job, it is running, or another place keeps files of it.
        """
        waiting = self.get(owner, id).current
        taken = waiting is not None and self._store.withdraw(waiting)
        try:
            job = self._idle(owner, id)
            self.places.forget(job)
            with self._turn:
                self._require_settled(id)
                self._store.hide(job)
        except UserError:
            if waiting is not None and taken:
                self._store.queue_again(waiting)
            raise
        self.scheduler.wake()

    def _idle(self, owner: str, id: str) -> Job:
        job = self.get(owner, id)
        self._require_settled(id)
        if job.current is not None:
            words = "is waiting already" if job.current.state == "queued" else "is running"
            raise UserError("job", f"it {words}", "Stop it first, or wait until it has ended.")
        if runs_elsewhere(self.folders.run(job).read_status(), self._now()):
            raise UserError("job", "it is running, started elsewhere", "Stop it there first.")
        return job

    def _require_settled(self, id: str) -> None:
        if id in self._promoting:
            raise UserError("job", "a round is just being made its model", "Try again in a moment.")

    def _training(self, job: Job, needs_token: bool, place: Place | None = None) -> Work:
        if place is not None:
            return self.places.training(job, place, needs_token)
        command = self._commands.train(self.folders.settings(job.id))
        return Work("train", tuple(command), True, needs_token and job.owner != LOCAL)

    def _queue(self, job: Job, work: Work, first: Callable[[], None] | None = None) -> Job:
        with self._turn:
            self._require_settled(job.id)
            self._store.queue(job, work, self._limits.queued, first)
        self.scheduler.wake()
        return self.get(job.owner, job.id)
