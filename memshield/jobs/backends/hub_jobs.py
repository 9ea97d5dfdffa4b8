"""Tasks as Hugging Face Jobs: trainings, and audits of them, in containers.

Their run directories lie in a bucket.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from memshield.config.file import make_config, read_yaml, to_yaml
from memshield.errors import UserError
from memshield.jobs.backends.seam import Begun, Look, Order
from memshield.jobs.records import Place
from memshield.jobs.remote.client import HubClient, RemoteJob, UnreachableError, plain
from memshield.jobs.remote.container import STOP
from memshield.jobs.remote.live import Live, LiveCopy, read_live
from memshield.jobs.remote.places import INPUTS, find_places
from memshield.jobs.remote.record import MOST_BYTES, REQUEST, SETTINGS, RunRecord, id_of
from memshield.jobs.remote.rights import require_right_to_start
from memshield.jobs.remote.states import RemoteState, state_of
from memshield.jobs.remote.submission import (
    Machine,
    RunTask,
    inside,
    prepare_submission,
    processes_for,
    send,
    send_code,
    start,
)

LIVE_SECONDS, JOBS_SECONDS = 4.0, 12.0
CHECKPOINT = re.compile(r"checkpoint-(\d+)/")
_SECONDS_A_RUN = 0.6
"""Many runs are looked at more seldom, so that all together ask less than twice a second."""

_UNLISTED_SECONDS = 300.0
"""A job that was begun so lately, and has written nothing, may run and be missing from the Hub's
list."""


@dataclass
class _Followed:
    """A task that is looked at."""

    copy: LiveCopy
    live: Live | None = None
    job: RemoteJob | None = None
    looked: float = float("-inf")
    failed: bool = False
    asked_to_stop: bool = False
    unreachable_since: float | None = None

    @property
    def is_starting(self) -> bool:
        """Whether its container is at work, and has not begun to train."""
        return self.live is not None and self.live.status.get("state") == "preparing"

    def has_written(self, mark: str) -> bool:
        """Whether the container of the task with this mark has."""
        return self.live is not None and self.live.mark == plain(mark)


@dataclass
class HubJobs:
    """Trains on Jobs.

    Attributes:
        client: of the account.
        machine: that new runs are started on.
        live_seconds: between two looks at what a run wrote, unless there are many; half of it
            until it trains.
        jobs_seconds: between two looks at the list of jobs, which is one request for all.
        now: the time, in seconds since the epoch.
    """

    client: HubClient
    machine: Machine | None = None
    live_seconds: float = LIVE_SECONDS
    jobs_seconds: float = JOBS_SECONDS
    now: Callable[[], float] = time.time
    _followed: dict[str, _Followed] = field(default_factory=dict)
    _in_vain: dict[str, float] = field(default_factory=dict)
    _listed: float = float("-inf")
    _jobs: dict[str, RemoteJob | None] = field(default_factory=dict)

    def start(self, order: Order, token: str | None) -> Begun:
        """Start a run's first job, one more that goes on with it, or a task on it.

        Raises:
            UserError: it was refused.
        """
        id = run_of(order)
        # Before anything is sent, and so that no two jobs overwrite each other.
        require_right_to_start(self.client.account, self.client.namespace)
        for job in self.client.jobs(run=id, active=True):
            if job.mark == plain(order.mark):
                return Begun(job.created)
            raise UserError(
                "run", f"a job works on it already: {job.url}", "Stop that one, or wait for it."
            )
        record = self.record(id)
        place = order.work.place
        if place is not None and place.task:
            if record is None or self.machine is None:
                raise _no_such_run(id, "Audit it on this machine.")
            self._require_there(order, record, place)
            task = RunTask(place.task[0], place.task[1:], self.machine)
            return self._begin(order, record, token, task)
        if record is None:
            if self.machine is None or (place is not None and place.found):
                raise _no_such_run(id, "Submit it anew.")
            config = make_config(read_yaml(order.settings))
            submission = prepare_submission(
                self.client, config, id, order.run.path.name, self.machine
            )
            send(self.client, submission)
            record = submission.record
        elif self.machine is not None:
            config = make_config(read_yaml(order.settings))
            processes = processes_for(self.machine.hardware, config.num_shards)
            # Settings may have been changed to go on with. They are those of the code that is here,
            # which the code that the run began with may not know.
            code = send_code(self.client)
            changes = {**self.machine._asdict(), "processes": processes, "code": code}
            record = record.model_copy(update=changes)
            self.client.change({f"{id}/{SETTINGS}": to_yaml(inside(config)).encode()})
        return self._begin(order, record, token)

    def _begin(
        self, order: Order, record: RunRecord, token: str | None, task: RunTask | None = None
    ) -> Begun:
        _, job = start(self.client, record, token, order.mark, task)
        self._jobs[plain(order.mark)] = job
        return Begun(job.created)

    def _require_there(self, order: Order, record: RunRecord, place: Place) -> None:
        """Have in the bucket what a task on a run reads, and nothing else than what is here.

        Raises:
            UserError: it is not there, it is another, or the pictures are gone.
        """
        live = read_live(self.client, record.id)
        files = {} if live is None else live.files
        wanted = {name: stamp for name, stamp in files.items() if name.startswith(place.reads)}
        if not wanted:
            raise UserError("round", "your bucket has no such model", "Audit it on this machine.")
        if any(not _is_as_here(order.run.path / name, stamp) for name, stamp in wanted.items()):
            raise UserError(
                "round", "your bucket has another model than this page: a round was chosen here",
                "Audit that round, or audit the model on this machine.",
            )  # fmt: skip
        copied = any(value.startswith(f"{INPUTS}/") for value in record.flags.values())
        if not copied or self.client.names(f"{record.id}/{INPUTS}"):
            return
        if place.found:
            raise UserError(
                "place", "the copy of its pictures in your bucket was deleted",
                "Audit it on the computer that started it, where the pictures are.",
            )  # fmt: skip
        sent = find_places(self.client, make_config(read_yaml(order.settings))).uploads
        self.client.change({f"{record.id}/{name}": path for name, path in sent.items()})

    def record(self, id: str) -> RunRecord | None:
        """What was submitted as a run; None where there is none."""
        found = self.client.read(f"{id}/{REQUEST}", most=MOST_BYTES)
        return None if found is None or found.data is None else RunRecord.parse(found.data, id)

    def find(self, order: Order) -> Begun | None:
        """The job that carries the mark of a task."""
        job = self._job(order)
        return None if job is None else Begun(job.created)

    def may_have_run(self, order: Order) -> bool:
        """Whether the Hub knows a job of the task."""
        return self._job(order) is not None

    def look(self, order: Order) -> Look:
        """The state of a task; while the Hub does not answer, it is as it was.

        Raises:
            UserError: the Hub refuses to tell, such as for a token that has run out.
        """
        try:
            followed = self._of(order)
        except UnreachableError:
            return Look(runs=True)
        try:
            self._bring_up_to_date(order, followed)
        except UnreachableError:
            followed.unreachable_since = followed.unreachable_since or self.now()
            return Look(runs=True)
        if followed.failed:
            return Look(runs=True)  # it was asked a moment ago, in vain
        followed.unreachable_since = None
        if followed.job is not None and followed.job.is_active:
            return Look(runs=True)
        begun = float("-inf") if order.begun is None else order.begun.time
        is_new = self.now() - begun < _UNLISTED_SECONDS and not followed.has_written(order.mark)
        if followed.job is None and is_new:
            return Look(runs=True)
        state = self.state(order)
        done = state.name in ("done", "stopped") or _never_ran(followed)
        words = f"{state.words_on_page}. {state.remedy}".strip()
        stopped = state.name == "stopped"
        return Look(False, 0 if done else None, None if done else words, stopped)

    def state(self, order: Order) -> RemoteState:
        """The state of a task as it was looked at last, in words; only after a look."""
        followed = self._of(order)
        place, live = order.work.place, followed.live
        is_done = live is not None and live.status.get("state") == "done"
        if followed.job is None and is_done and (place is None or not place.task):
            return RemoteState("done", "Done")  # a job that was deleted afterwards
        return state_of(followed.job, live, self.now())

    def job(self, order: Order) -> RemoteJob | None:
        """The job of a task as it was looked at last."""
        return self._of(order).job

    def checkpoint(self, order: Order) -> int | None:
        """Step of the last checkpoint in the bucket, as it was looked at last."""
        live = self._of(order).live
        names = () if live is None else live.files
        found = {CHECKPOINT.match(name) for name in names}
        return max((int(one[1]) for one in found if one is not None), default=None)

    def unreachable_for(self, order: Order) -> float:
        """Seconds for which the Hub has not answered."""
        since = self._of(order).unreachable_since
        return 0.0 if since is None else self.now() - since

    def stop(self, order: Order) -> None:
        """Ask the container to end its command, which saves; a job that only waits is cancelled."""
        followed = self._of(order)
        if followed.asked_to_stop:
            return
        job = followed.job or self._job(order)
        if job is not None and job.stage == "SCHEDULING":
            self.client.cancel(job.id)
        else:
            id = run_of(order)
            self.client.change({f"{id}/{STOP}": b"1"})
        followed.asked_to_stop = True

    def kill(self, order: Order) -> bool:
        """Cancel the job; False where the Hub does not list it, or not yet."""
        job = self._of(order).job or self._job(order)
        if job is not None and job.is_active:
            self.client.cancel(job.id)
        return job is not None

    def has_news(self) -> bool:
        """Never: all news are asked for."""
        return False

    def _of(self, order: Order) -> _Followed:
        if order.mark not in self._followed:
            if self.now() - self._in_vain.get(order.mark, float("-inf")) < self.live_seconds:
                raise UnreachableError("Jobs", "the Hub did not answer a moment ago")
            id = run_of(order)
            try:
                record = self.record(id)
            except UnreachableError:
                self._in_vain[order.mark] = self.now()
                raise
            copy = LiveCopy(
                self.client, id, order.run, {} if record is None else record.meant, order.output,
                trains=order.work.place is None or not order.work.place.task,
            )  # fmt: skip
            self._followed[order.mark] = _Followed(copy)
        return self._followed[order.mark]

    def _bring_up_to_date(self, order: Order, followed: _Followed) -> None:
        now = self.now()
        ended_before = followed.job is not None and not followed.job.is_active
        # Somebody may wait for its first step.
        pause = self.live_seconds / 2 if followed.is_starting else self.live_seconds
        seconds = max(pause, _SECONDS_A_RUN * self._count_active())
        if now - followed.looked >= seconds and not ended_before:
            # A look that fails is followed by a pause as others are.
            followed.looked, followed.failed = now, True
            job = self._job(order)
            # After the job: of one that has ended, everything is there.
            live = followed.copy.bring_up_to_date()
            # Together: an end that is known without its last words would pass for a loss.
            followed.job, followed.live, followed.failed = job, live, False

    def _count_active(self) -> int:
        jobs = (followed.job for followed in self._followed.values())
        return sum(job is not None and job.is_active for job in jobs)

    def _job(self, order: Order) -> RemoteJob | None:
        """The job of a task; None where the Hub knows none, or none any more."""
        mark = plain(order.mark)
        if self.now() - self._listed >= self.jobs_seconds:
            self._list()
        if self._jobs.get(mark) is None:
            id = run_of(order)
            found = [job for job in self.client.jobs(run=id) if job.mark == mark]
            if not found:
                return None
            self._jobs[mark] = found[0]
        return self._jobs[mark]

    def _list(self) -> None:
        """Ask for all active jobs at once, and for those that were active one by one."""
        active: dict[str, RemoteJob | None] = {
            job.mark: job for job in self.client.jobs(active=True)
        }
        for mark, job in self._jobs.items():
            if job is not None and job.is_active and mark not in active:
                active[mark] = self.client.inspect(job.id)
        self._jobs.update(active)
        self._listed = self.now()


def _no_such_run(id: str, remedy: str) -> UserError:
    return UserError("run", f"there is no run {id} in the bucket", remedy)


def _is_as_here(path: Path, stamp: tuple[int, int]) -> bool:
    """Whether a file is that of the bucket; one that was not brought here cannot be another."""
    if not path.exists():
        return True
    stat = path.stat()
    return (stat.st_size, stat.st_mtime_ns) == stamp


def run_of(order: Order) -> str:
    """The id of the run that a task belongs to."""
    place = order.work.place
    known = place.run if place is not None else ""
    return known or id_of(order.mark, order.run.path.name)


def _never_ran(followed: _Followed) -> bool:
    """Whether a task was stopped while it still waited for hardware."""
    job = followed.job
    return followed.asked_to_stop and job is not None and job.started is None
