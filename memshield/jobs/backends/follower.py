"""Looks at the trainings of one owner on Jobs, and brings here what they have made."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from memshield.errors import UserError
from memshield.jobs.backends.hub_jobs import HubJobs, run_of
from memshield.jobs.backends.seam import GRACE, Look, Order
from memshield.jobs.records import Place
from memshield.jobs.remote.client import HubClient, UnreachableError
from memshield.jobs.remote.live import AUDITS, NoRoomError, fetch, read_live
from memshield.jobs.remote.places import INPUTS
from memshield.jobs.remote.states import GONE
from memshield.jobs.remote.submission import CHECKPOINTS, Machine
from memshield.jobs.told import Told, read_told

log = logging.getLogger("memshield")
SECONDS = 0.5
"""Between two rounds of looks; `HubJobs` asks less often."""
_UNASKED_SECONDS = 30.0
"""A task that nobody has asked about for so long is not looked at any more."""
_PAUSE, _LONGEST_PAUSE = 5.0, 300.0
"""Seconds before files are asked for again that could not be brought here: the first, and most."""
_TRIES = 5
"""After so many, what the Hub refuses is not asked for again; silence and a full disk may pass."""
_SIGNED_OUT = "Nobody looks: it goes on, and is seen again once you sign in for Jobs"


@dataclass
class Asked:
    """A task that is looked at.

    Attributes:
        order: of the task.
        at: when it was asked about last.
        wish: what is to be done to it.
        stopped: when a stop arrived there, by the monotonic clock.
        look: the last one.
        orphan: whether nothing comes of it, as far as can be told.
        bringing: the thread that brings its files here.
        brought: whether they are all here.
        tries: how often that failed.
        again: when it is tried again, by the monotonic clock.
        trouble: with it so far, in words.
        problem: with it for good.
    """

    order: Order
    at: float
    wish: Literal["stop", "kill"] | None = None
    stopped: float | None = None
    look: Look = field(default_factory=lambda: Look(runs=True))
    orphan: bool = False
    bringing: threading.Thread | None = None
    brought: bool = False
    tries: int = 0
    again: float = 0.0
    trouble: str = ""
    problem: str | None = None


class Follower:
    """Looks at the tasks of one owner, in a thread that ends when none is left."""

    def __init__(
        self,
        token: Callable[[], str | None],
        prices: Callable[[], Mapping[str, float]],
        make: Callable[[HubClient, Machine | None], HubJobs],
    ) -> None:
        self._token, self._prices, self._make = token, prices, make
        self._lock = threading.Lock()
        self._tasks: dict[str, Asked] = {}
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self._backend: HubJobs | None = None
        self._backend_token: str | None = None

    @property
    def has_news(self) -> bool:
        """Whether a task has ended, and nobody knows yet."""
        return any(not one.look.runs for one in list(self._tasks.values()))

    def look(self, order: Order) -> Look:
        """The last look at a task; one that has ended is told once."""
        with self._lock:
            asked = self._asked(order)
            if not asked.look.runs:
                del self._tasks[order.mark]
            return asked.look

    def ask(self, order: Order, wish: Literal["stop", "kill"]) -> None:
        """Have something done to a task."""
        with self._lock:
            self._asked(order).wish = wish

    def close(self) -> None:
        """End the thread, as soon as it has its answer."""
        self._closed.set()

    def _asked(self, order: Order) -> Asked:
        asked = self._tasks.setdefault(order.mark, Asked(order, time.monotonic()))
        asked.at = time.monotonic()
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(
                target=self._follow, name="memshield-follow", daemon=True
            )
            self._thread.start()
        return asked

    def _follow(self) -> None:
        while not self._closed.wait(SECONDS):
            with self._lock:
                now = time.monotonic()
                for mark, one in list(self._tasks.items()):
                    # Another one would write the same files beside the thread that brings them.
                    brings = one.bringing is not None and one.bringing.is_alive()
                    if now - one.at > _UNASKED_SECONDS and not brings:
                        del self._tasks[mark]
                if not self._tasks:
                    self._thread = None
                    return
                tasks = list(self._tasks.values())
            for one in tasks:
                if one.look.runs and not self._closed.is_set():
                    one.look = self.look_at(one)

    def look_at(self, asked: Asked) -> Look:
        """Ask the Hub of a task, and do what is wished."""
        order = asked.order
        try:
            backend = self._current()
            if backend is None:
                self._note(order, words=_SIGNED_OUT)
                return Look(runs=True)
            account = backend.client.account.name
            if self._account_of(order) not in ("", account):
                self._note(
                    order, f"It goes on: it is an account's that is not {account}",
                    f"Sign in as {self._account_of(order)} to see it.",
                )  # fmt: skip
                return Look(runs=True)
            refusal = self._do(backend, asked)
            found = backend.look(order)
            silence = backend.unreachable_for(order)
            if silence > 0:
                self._note(order, words="The Hub does not answer; the job goes on")
                return Look(runs=True)
            if backend.job(order) is None and found.runs:
                return found  # the Hub did not answer at the first look
            asked.orphan = self._tell(backend, asked)
            if refusal is not None and found.runs:
                self._note(order, refusal.problem, refusal.advice)
            # Of a task on a run there may be pictures to delete, however it ended.
            if not found.runs and (backend.state(order).name == "done" or place_of(order).task):
                return self._brought(backend, asked, found)
            return found
        except UnreachableError:
            self._note(order, words="The Hub does not answer; the job goes on")
        except UserError as error:
            self._note(order, words=error.problem, remedy=error.advice)
        except OSError as error:  # a full disk: the next look tries again
            log.warning("%s cannot be brought here: %s", order.run.path.name, error.strerror)
        return Look(runs=True)

    def _do(self, backend: HubJobs, asked: Asked) -> UserError | None:
        """Do what is wished; why it cannot be done now."""
        if asked.wish is None:
            return None
        now = time.monotonic()
        waits = asked.stopped is None or now - asked.stopped < GRACE
        # An orphan has nobody who would save.
        saves = not asked.orphan and (asked.wish == "stop" or waits)
        try:
            (backend.stop if saves else backend.kill)(asked.order)
        except UserError as error:
            return error
        if saves and asked.stopped is None:
            asked.stopped = now
        if not asked.tries:  # else it is its files that are not waited for
            asked.wish = None
        return None

    def _account_of(self, order: Order) -> str:
        told = read_told(order.told) if order.told is not None else None
        return "" if told is None else told.account

    def _current(self) -> HubJobs | None:
        token = self._token()
        if token is None:
            # Who signed out wants nothing kept.
            self._backend = self._backend_token = None
            return None
        if self._backend is None or token != self._backend_token:
            self._backend, self._backend_token = self._make(HubClient(token), None), token
        return self._backend

    def _note(self, order: Order, words: str, remedy: str = "") -> None:
        before = read_told(order.told) if order.told is not None else None
        told = before or Told(place_of(order).hardware)
        write_told(order, replace(told, words=words, remedy=remedy))

    def _tell(self, backend: HubJobs, asked: Asked) -> bool:
        """Write what is known; whether it is an orphan."""
        order = asked.order
        state, job, place = backend.state(order), backend.job(order), place_of(order)
        if not place.seconds and job is not None and job.is_active:
            state = GONE
        before = (read_told(order.told) if order.told is not None else None) or Told(place.hardware)
        an_hour = self._prices().get(place.hardware)
        dollars, most = before.dollars, before.most
        if an_hour is not None:
            most = place.seconds / 3600 * an_hour
            dollars = dollars if job is None else job.seconds / 3600 * an_hour
        write_told(order, replace(
            before,
            url=before.url if job is None else job.url,
            words=asked.trouble or state.words_on_page,
            remedy=state.remedy,
            orphan=state.orphan,
            dollars=dollars,
            most=most,
            account=before.account if job is None else backend.client.account.name,
            checkpoint=backend.checkpoint(order),
        ))  # fmt: skip
        return state.orphan

    def _brought(self, backend: HubJobs, asked: Asked, found: Look) -> Look:
        """The look at a task that is done: it runs until all that is shown of it is here."""
        if asked.bringing is None:
            if time.monotonic() >= asked.again:
                asked.bringing = threading.Thread(
                    target=self._bring, args=(backend.client, asked), daemon=True
                )
                asked.bringing.start()
            elif asked.wish == "kill":  # who stopped it long ago waits for no files
                return found._replace(problem=asked.trouble)
            return Look(runs=True)
        if asked.bringing.is_alive():
            return Look(runs=True)
        if asked.brought:
            return found
        if asked.problem is not None:
            return found._replace(problem=asked.problem)
        asked.bringing = None
        asked.again = time.monotonic() + min(_PAUSE * 2 ** min(asked.tries, 9), _LONGEST_PAUSE)
        asked.tries += 1
        return Look(runs=True)

    def _bring(self, client: HubClient, asked: Asked) -> None:
        order = asked.order
        id = run_of(order)
        trouble, may_pass = "the log of this server says why", False
        try:
            record = self._make(client, None).record(id)
            meant = {} if record is None else dict(record.meant)
            meant["output_dir"] = str(order.run.path)
            # What no training made leaves the rest as it is here.
            only = AUDITS if place_of(order).task else None
            for _ in fetch(client, id, order.run, meant, CHECKPOINTS, only):
                if self._closed.is_set():
                    return
            # A terminal that began it may still go on with it, and so may what is not done.
            over = not place_of(order).found and order.run.read_status().get("state") == "done"
            live = read_live(client, id) if over else None
            is_whole = live is not None and live.has_model
            copies = client.names(f"{id}/{INPUTS}") if is_whole else []
            if copies:
                client.change(delete=copies)
            asked.brought = True
            return
        except UserError as error:
            trouble = error.on_page
            # Signed in anew, it goes on with the next token.
            may_pass = (
                isinstance(error, UnreachableError | NoRoomError) or error.field == "HF_TOKEN"
            )
        except OSError as error:
            trouble, may_pass = error.strerror or str(error), True
        finally:
            if not asked.brought:
                asked.trouble = f"It is done, and cannot be brought here yet: {trouble}"
                if not may_pass and asked.tries + 1 >= _TRIES:
                    asked.problem = f"It is done, and cannot be brought here: {trouble}"


def place_of(order: Order) -> Place:
    """Where a task is."""
    assert order.work.place is not None
    return order.work.place


def write_told(order: Order, told: Told) -> None:
    """Write what is known of a task, where there is a file for it."""
    if order.told is not None:
        told.write(order.told)
