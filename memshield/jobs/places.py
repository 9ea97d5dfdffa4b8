"""Runs in another place than this machine: their start, what is found of them, and their end."""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from memshield.config.file import make_config, to_yaml
from memshield.errors import UserError
from memshield.forecast.prices import HubPrices, job_prices
from memshield.hub.account import own_token
from memshield.jobs.backends.accounts import Accounts
from memshield.jobs.backends.seam import Elsewhere, Order
from memshield.jobs.commands import Commands
from memshield.jobs.folders import Folders, name_from
from memshield.jobs.records import LOCAL, Found, Job, Place, Task, Work
from memshield.jobs.store import Store
from memshield.jobs.tokens import Tokens
from memshield.jobs.told import read_told
from memshield.rundir import write_text

log = logging.getLogger("memshield")
_ADOPT_SECONDS = 300.0
MakeElsewhere = Callable[[Callable[[str], str | None]], Elsewhere]


class Places:
    """What the jobs of all owners have in another place.

    Args:
        store: of jobs.
        folders: where they lie.
        commands: makes argument lists.
        tokens: of owners, for everything.
        own: of owners who have let this app run tasks there.
        make: the place, from what gives the token of an owner; by default Hugging Face Jobs.

    Attributes:
        tokens: of owners who have let this app run tasks there.
        prices: of hardware there, in dollars an hour.
        backend: the place.
    """

    def __init__(
        self, store: Store, folders: Folders, commands: Commands, tokens: Tokens, own: Tokens,
        make: MakeElsewhere | None = None,
    ) -> None:  # fmt: skip
        self._store, self._folders, self._commands = store, folders, commands
        self._tokens, self.tokens = tokens, own
        self._lock = threading.Lock()
        self._looked: dict[str, float] = {}
        self.prices = HubPrices(job_prices)
        self.backend: Elsewhere = (
            Accounts(self.token_of, self.prices.get) if make is None else make(self.token_of)
        )

    def token_of(self, owner: str) -> str | None:
        """The token that may run tasks there; at home that of the machine's user."""
        found = self.tokens.of(owner)
        if found is None and owner == LOCAL:
            with suppress(UserError):  # one that cannot be sent is none
                found = self._tokens.of(LOCAL) or own_token()
        return found

    def training(self, job: Job, place: Place, needs_token: bool) -> Work:
        """The work of a training there.

        Args:
            job: of it.
            place: where.
            needs_token: whether what it reads can only be read with the owner's token.
        """
        if not place.run:
            place = replace(place, run=self.backend.new_run(job.name))
        command = self._commands.submit(self._folders.settings(job.id), place)
        return Work("train", tuple(command), False, needs_token and job.owner != LOCAL, place)

    def on_run(self, job: Job, task: Sequence[str], reads: str, needs_token: bool) -> Work:
        """The work of a command on a run, where that was trained.

        Args:
            job: of it.
            task, reads: see `Place`.
            needs_token: as of `training`.

        Raises:
            UserError: it was trained on this machine.
        """
        trained = self.again(job)
        if trained is None:
            raise UserError("place", "it was trained on this machine", "Audit it here.")
        place = replace(trained, task=tuple(task), reads=reads)
        command = self._commands.on_run_there(place)
        return Work("audit", tuple(command), False, needs_token and job.owner != LOCAL, place)

    def again(self, job: Job) -> Place | None:
        """Where a job goes on; None for this machine."""
        last = job.last("train")
        place = None if last is None else last.work.place
        return None if place is None else replace(place, mark="")

    def anew(self, job: Job) -> Place | None:
        """Where another run like a job is started; None for this machine."""
        place = self.again(job)
        return None if place is None else Place(place.hardware, place.seconds)

    def require_reach(self, job: Job, task: Task) -> None:
        """Refuse to stop what cannot be told to.

        Raises:
            UserError: the task runs there, and no token that may end it is known.
        """
        if task.work.place is None or self.token_of(job.owner) is not None:
            return
        told = read_told(self._folders.told(job.id, task.number))
        page = f", or cancel the job at {told.url}" if told is not None and told.url else ""
        raise UserError(
            "job", "it runs on Hugging Face Jobs, and you are not signed in for them",
            f"Sign in for Jobs under New training, then stop it{page}.",
        )  # fmt: skip

    def forget(self, job: Job) -> None:
        """Delete what the place has of a job that is not busy.

        Raises:
            UserError: it cannot be deleted now.
        """
        # A start that was not answered may have sent pictures before the task was put back.
        there = [
            task for task in job.tasks
            if task.work.place is not None
            and (task.started or self._folders.told(job.id, task.number).is_file())
        ]  # fmt: skip
        if job.current or not there:
            return
        task = there[-1]
        if self.token_of(job.owner) is None:
            raise UserError(
                "job", "its files in your bucket cannot be deleted without your sign-in for Jobs",
                "Sign in for Jobs under New training, then delete it.",
            )  # fmt: skip
        log = self._folders.log(job.id, task.number)
        settings, run = self._folders.settings(job.id), self._folders.run(job)
        told = self._folders.told(job.id, task.number)
        order = Order(task.mark, job.owner, task.work, run, settings, log, told=told)
        self.backend.forget(order)

    def adopt(self, owner: str) -> int:
        """Take over the runs of an owner that the place has and the store does not.

        Returns:
            How many.

        Raises:
            UserError: the place cannot be asked now.
        """
        known = {
            task.work.place.run for job in self._store.jobs_of(owner) for task in job.tasks
            if task.work.place is not None
        }  # fmt: skip
        count = 0
        for found in self.backend.runs_of(owner):
            if found.place.run in known:
                continue
            try:
                self._adopt(owner, found)
                count += 1
            except (UserError, OSError) as error:  # settings of another version, or a full disk
                log.warning("the run %s cannot be shown: %s", found.place.run, error)
        return count

    def adopt_soon(self, owner: str) -> None:
        """Do so in the background, where the owner's token allows it and it was not done lately."""
        now = time.monotonic()
        with self._lock:
            if now - self._looked.get(owner, float("-inf")) < _ADOPT_SECONDS:
                return
            if self.token_of(owner) is None:
                return
            self._looked[owner] = now
        threading.Thread(target=self._adopt_quietly, args=(owner,), daemon=True).start()

    def _adopt_quietly(self, owner: str) -> None:
        try:
            self.adopt(owner)
        except UserError as error:  # what is known is shown all the same
            log.info("runs in another place cannot be looked for: %s", error)

    def _adopt(self, owner: str, found: Found) -> None:
        job = Job(secrets.token_urlsafe(16), owner, name_from(found.name), found.created, ())
        path = str(self._folders.run(job).path)
        try:
            self._folders.make(job.id)
            config = make_config({**found.settings, "output_dir": path})
            write_text(self._folders.settings(job.id), to_yaml(config))
            self._store.add_running(job, self.training(job, found.place, True), found.created)
        except (UserError, OSError):
            shutil.rmtree(self._folders.job(job.id), ignore_errors=True)
            raise
