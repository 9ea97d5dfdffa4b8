"""The scheduler: one thread that starts queued tasks and notes those that have ended."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence

from memshield.config.file import make_config, read_yaml
from memshield.errors import UserError
from memshield.jobs.admission import OF_PICTURES, require_allowed, require_run_allowed
from memshield.jobs.backends.seam import (
    GRACE,
    Backend,
    Begun,
    Elsewhere,
    Order,
)
from memshield.jobs.folders import Folders
from memshield.jobs.model_audit_request import read_arguments
from memshield.jobs.processes import ServerProcess
from memshield.jobs.records import Task, UnansweredError, Work
from memshield.jobs.sample_request import read_sample_arguments, require_runs_allowed
from memshield.jobs.store import Store
from memshield.jobs.tokens import Tokens

log = logging.getLogger("memshield")
SECONDS = 1.0
"""Between two looks at everything; a change by this server is acted on at once."""
_GLANCE_SECONDS = 0.1
_UNLISTED_SECONDS = 60.0
"""A place's list may lack a task for this long that the place was asked to start."""
_STARTING_SECONDS = 10.0
"""Closing waits this long for a start in another place; the next server finds out how it ended."""


class Scheduler:
    """Starts tasks and watches them. Closing it, or killing its process, leaves them running.

    Several may share a store: a task belongs to the one that started it until that one is gone.

    Args:
        store: of jobs.
        folders: where they lie.
        tokens: of their owners.
        backend: where they run.
        devices: each runs one task at a time.
        without_device: how many tasks may run at once that need no device.
        grace: seconds from asking a task to stop to ending it.
        now: the time, in seconds since the epoch.
        elsewhere: runs the tasks that have a place.
        token_elsewhere: an owner's token for that; None where there is none.
    """

    def __init__(
        self,
        store: Store,
        folders: Folders,
        tokens: Tokens,
        backend: Backend,
        devices: Sequence[str],
        without_device: int = 4,
        grace: float = GRACE,
        now: Callable[[], float] = time.time,
        elsewhere: Elsewhere | None = None,
        token_elsewhere: Callable[[str], str | None] = lambda owner: None,
    ) -> None:
        self._elsewhere = elsewhere
        self._token_elsewhere = token_elsewhere
        self._starting: dict[int, threading.Thread] = {}
        self._unanswered: dict[int, float] = {}
        self._store = store
        self._folders = folders
        self._tokens = tokens
        self._backend = backend
        self._devices = tuple(devices)
        self._without_device = without_device
        self._grace = grace
        self._now = now
        self._server = ServerProcess.here()
        self._me = str(self._server)
        self._turn = threading.Lock()
        self._changed = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def run(self) -> None:
        """Step once a second, and whenever something changed, in a thread of its own."""
        self._thread = threading.Thread(target=self._loop, name="memshield-jobs", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Step soon: something was queued or asked to stop."""
        self._changed.set()

    def close(self) -> None:
        """Stop stepping; running tasks go on, and the next server takes them over."""
        self._closed.set()
        self._changed.set()
        if self._thread is not None:
            self._thread.join()
        for starting in list(self._starting.values()):
            starting.join(_STARTING_SECONDS)
        self._store.release(self._me)

    def may_start(self, owner: str, work: Work) -> bool:
        """Whether an owner's work has the token that it needs, if it needs one."""
        if work.place is not None:
            return self._token_elsewhere(owner) is not None
        return not work.needs_token or self._tokens.of(owner) is not None

    def step(self) -> None:
        """Start, stop and note tasks once.

        Raises:
            UserError: the store cannot be used.
        """
        self._tokens.drop_expired()
        with self._turn:
            for task in self._store.running():
                if self._is_mine(task):
                    self._look_at(task)
            for id in self._store.hidden():
                self._delete(id)
            while (claimed := self._claim()) is not None:
                self._start(claimed)
            try:
                self._store.keep()
            except OSError as error:
                log.warning("the copy of the job store cannot be written: %s", error.strerror)

    def _loop(self) -> None:
        while not self._closed.is_set():
            self._changed.clear()
            try:
                self.step()
            except UserError as error:
                # The store may be writable again in a moment, and what runs must not be lost.
                log.error("%s", error)
            except Exception:  # the edge of a thread, without which nothing is started or noted
                log.exception("the queue could not be looked through; it is tried again")
            self._wait()

    def _wait(self) -> None:
        """Until something changed, something ended, or it is time to look again."""
        for _ in range(round(SECONDS / _GLANCE_SECONDS)):
            if self._changed.wait(_GLANCE_SECONDS):
                return
            if self._backend.has_news() or (self._elsewhere and self._elsewhere.has_news()):
                return

    # Watching

    def _is_mine(self, task: Task) -> bool:
        """Whether this server watches a task; one whose server is gone is taken over."""
        if task.server == self._me:
            return True
        if task.server is not None and ServerProcess.parse(task.server).is_running():
            return False
        return self._store.adopt(task, self._me)

    def _look_at(self, task: Task) -> None:
        order, backend = self._order(task), self._backend_of(task)
        if task.number in self._starting or backend is None:
            return
        if task.work.place is not None and not self.may_start(order.owner, task.work):
            return  # it goes on, and nobody here may look
        grace = self._grace if task.work.place is None else GRACE
        try:
            if order.begun is None:
                if task.work.place is None:
                    self._recover(task, order, backend)
                else:
                    self._beside(task, lambda: self._recover(task, order, backend))
                return
            found = backend.look(order)
            if found.runs and task.stop_asked is not None:
                if self._now() - task.stop_asked > grace:
                    backend.kill(order)
                else:
                    backend.stop(order)
        except UserError as error:
            # It may be a place that cannot be asked now; others can.
            log.warning("job %s: %s", task.job, error)
            return
        if not found.runs:
            stopped = self._now() if found.stopped else None
            self._store.end(task, found.exit_code, found.problem, stopped)

    def _backend_of(self, task: Task) -> Backend | None:
        return self._backend if task.work.place is None else self._elsewhere

    def _recover(self, task: Task, order: Order, backend: Backend) -> None:
        """A task whose server was lost between taking it and noting its start."""
        found = backend.find(order)
        if found is not None:
            self._store.started(task, found.pid, found.time)
        elif task.work.place is not None and self._now() < self._listed_from(task):
            time.sleep(SECONDS)
            return  # it may run, unlisted: neither start it again nor call it stopped
        elif backend.may_have_run(order) or task.stop_asked is not None:
            # A task that ended without a trace is not started twice: it can be resumed.
            self._store.end(task)
        else:
            self._store.put_back(task)

    def _listed_from(self, task: Task) -> float:
        """When a place's list has a task for sure that the place was asked to start."""
        return self._unanswered.get(task.number, task.started or 0.0) + _UNLISTED_SECONDS

    def _order(self, task: Task) -> Order:
        job = self._store.job(task.job)
        assert job is not None  # a job with a running task cannot be deleted
        begun = None if task.start_time is None else Begun(task.start_time, task.pid)
        return Order(
            task.mark,
            job.owner,
            task.work,
            self._folders.run(job),
            self._folders.settings(job.id),
            self._folders.log(job.id, task.number),
            task.device,
            begun,
            None if task.work.place is None else self._folders.told(job.id, task.number),
        )

    def _delete(self, id: str) -> None:
        try:
            self._folders.remove(id)
        except OSError as error:
            log.warning("job %s: its files cannot be deleted: %s", id, error.strerror)
            return
        self._store.forget(id)

    # Starting

    def _claim(self) -> Task | None:
        return self._store.claim(
            self._devices, self._without_device, self._me, self.may_start, self._now()
        )

    def _start(self, task: Task) -> None:
        if task.work.place is None:
            self._start_or_end(task, self._backend)
        elif self._elsewhere is None:
            self._store.end(task, problem="This server starts nothing in other places.")
        else:
            # Pictures may have to be sent first.
            backend = self._elsewhere
            self._beside(task, lambda: self._start_or_end(task, backend))

    def _start_or_end(self, task: Task, backend: Backend) -> None:
        try:
            self._start_now(task, backend)
        except Exception:  # the edge of a thread; a task that stayed claimed would be tried forever
            log.exception("job %s cannot be started", task.job)
            self._store.end(task, problem="It could not be started. The server's log says why.")

    def _beside(self, task: Task, act: Callable[[], None]) -> None:
        """Do what asks another place in a thread: the queue of this machine does not wait."""
        thread = threading.Thread(target=self._act_beside, args=(task, act), daemon=True)
        self._starting[task.number] = thread
        thread.start()

    def _act_beside(self, task: Task, act: Callable[[], None]) -> None:
        try:
            act()
        except UserError as error:  # the place cannot be asked now
            log.warning("job %s: %s", task.job, error)
            time.sleep(SECONDS)
        except Exception:  # the edge of a thread; the next step tries again
            log.exception("job %s cannot be looked for", task.job)
            time.sleep(SECONDS)
        finally:
            del self._starting[task.number]
            self.wake()

    def _start_now(self, task: Task, backend: Backend) -> None:
        order, place = self._order(task), task.work.place
        try:
            self._require_allowed(task, order)
            of = self._tokens.of if place is None else self._token_elsewhere
            token = of(order.owner)
            if token is None and (task.work.needs_token or place is not None):
                self._store.put_back(task)  # it ran out since the task was taken
                return
            begun = backend.start(order, token)
        except UnansweredError as error:
            log.warning("job %s: %s", task.job, error)
            self._unanswered[task.number] = self._now()  # it is looked for by its mark
        except UserError as error:
            self._store.end(task, problem=error.on_page)
        except OSError as error:
            self._store.end(task, problem=f"It cannot be started: {error.strerror}.")
        else:
            self._note_start(task, begun)

    def _note_start(self, task: Task, begun: Begun) -> None:
        """Note what a backend has started; where that cannot be written, it is looked for."""
        try:
            self._store.started(task, begun.pid, begun.time)
        except UserError as error:  # the disk is full, or another server writes
            log.warning("job %s is started, which could not be noted: %s", task.job, error)
            self._unanswered[task.number] = self._now()

    def _require_allowed(self, task: Task, order: Order) -> None:
        """Refuse what the owner may not have.

        Folders may have appeared, or links in them, since the task was accepted.

        Raises:
            UserErrors, UserError: as `admission.require_allowed`.
        """
        owner, folders, place = order.owner, self._folders, task.work.place
        if task.work.kind == "audit_model":
            read_arguments(folders, task.job).require_allowed(owner, folders)
            return
        if task.work.kind == "sample":
            job = self._store.job(task.job)
            assert job is not None  # a job with a running task cannot be deleted
            require_runs_allowed(read_sample_arguments(folders, job), owner, folders)
            return
        if place is not None and place.found:
            return  # nothing of it is read here
        is_published = task.work.kind == "publish"
        unread: Collection[str] = ()
        if is_published:
            job = self._store.job(task.job)
            assert job is not None  # a job with a running task cannot be deleted
            unread = OF_PICTURES if job.is_found else ()
        config = make_config(read_yaml(order.settings))
        require_allowed(config, owner, folders, is_published, unread)
        if task.work.kind in ("audit", "publish"):
            require_run_allowed(order.run, owner, folders, is_published, unread)
