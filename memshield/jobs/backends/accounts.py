"""Hugging Face Jobs of many people, each followed with the person's own token."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from memshield.errors import UserError
from memshield.jobs.backends.hub_jobs import HubJobs, run_of
from memshield.jobs.backends.seam import Begun, Look, Order, UnansweredError
from memshield.jobs.records import Found, Place
from memshield.jobs.remote.client import HubClient, UnreachableError
from memshield.jobs.remote.live import fetch
from memshield.jobs.remote.places import INPUTS
from memshield.jobs.remote.record import new_id
from memshield.jobs.remote.runs import find_runs
from memshield.jobs.remote.states import GONE
from memshield.jobs.remote.submission import CHECKPOINTS, Machine, default_image, forget
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


class Accounts:
    """Starts and follows trainings on Jobs. What it says of one is at most a few seconds old.

    Looks are taken in a thread for each owner: a Hub that is slow keeps nobody else waiting.

    Args:
        token_of: the token of an owner that may run Jobs; None where there is none.
        prices: dollars an hour by hardware.
        image: of containers; by default the Space's own, or a plain Python.
        make: a backend from a client and the machine of new runs.
    """

    def __init__(
        self,
        token_of: Callable[[str], str | None],
        prices: Callable[[], Mapping[str, float]],
        image: str | None = None,
        make: Callable[[HubClient, Machine | None], HubJobs] = HubJobs,
    ) -> None:
        self._token_of = token_of
        self._prices = prices
        self._image = image or default_image()
        self._make = make
        self._lock = threading.Lock()
        self._followers: dict[str, _Follower] = {}

    def new_run(self, name: str) -> str:
        """An id for a run of this name, which no other has."""
        return new_id(name)

    def start(self, order: Order, token: str | None) -> Begun:
        """Start a run's first job, or one more that goes on with it.

        Raises:
            UserError: it was refused.
            UnansweredError: it may have been started.
        """
        place = _place_of(order)
        client = self._client(order.owner)
        told = Told(
            place.hardware, words="Sending the settings and the pictures",
            account=client.account.name,
        )  # fmt: skip
        _write(order, told)
        machine = Machine(place.hardware, place.seconds, self._image)
        try:
            return self._make(client, machine).start(order, token)
        except UnansweredError:
            _write(order, replace(told, words="The Hub did not say whether it has started it"))
            raise
        except (UserError, OSError):
            _write(order, replace(told, words=""))  # nothing is sent any more
            raise

    def find(self, order: Order) -> Begun | None:
        """The job that carries the mark of a task."""
        return self._make(self._client(order.owner), None).find(order)

    def may_have_run(self, order: Order) -> bool:
        """Whether the Hub knows a job of the task."""
        return self.find(order) is not None

    def look(self, order: Order) -> Look:
        """The state of a task as it was seen last."""
        return self._follower(order.owner).look(order)

    def stop(self, order: Order) -> None:
        """Ask the container to end its command, which saves."""
        self._follower(order.owner).ask(order, "stop")

    def kill(self, order: Order) -> None:
        """Cancel the job."""
        self._follower(order.owner).ask(order, "kill")

    def has_news(self) -> bool:
        """Whether a task has ended."""
        return any(one.has_news for one in list(self._followers.values()))

    def forget(self, order: Order) -> None:
        """Delete the run from the owner's bucket.

        Raises:
            UserError: it cannot be deleted now.
        """
        client = self._client(order.owner)
        forget(client, run_of(order))

    def runs_of(self, owner: str) -> Iterator[Found]:
        """The runs of an owner that the Hub knows by their label.

        Raises:
            UserError: they cannot be asked for now.
        """
        return find_runs(self._client(owner), time.time())

    def close(self) -> None:
        """Look no more; jobs go on."""
        for one in list(self._followers.values()):
            one.close()

    def _client(self, owner: str) -> HubClient:
        token = self._token_of(owner)
        if token is None:
            raise UserError(
                "place", "no token that may run Jobs is known", "Sign in for Jobs, or give one."
            )
        return HubClient(token)

    def _follower(self, owner: str) -> _Follower:
        with self._lock:
            if owner not in self._followers:
                self._followers[owner] = _Follower(
                    lambda: self._token_of(owner), self._prices, self._make
                )
            return self._followers[owner]


@dataclass
class _Asked:
    """A task that is looked at.

    Attributes:
        order: of the task.
        at: when it was asked about last.
        wish: what is to be done to it.
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
    look: Look = field(default_factory=lambda: Look(runs=True))
    orphan: bool = False
    bringing: threading.Thread | None = None
    brought: bool = False
    tries: int = 0
    again: float = 0.0
    trouble: str = ""
    problem: str | None = None


class _Follower:
    """Looks at the tasks of one owner, in a thread that ends when none is left."""

    def __init__(
        self,
        token: Callable[[], str | None],
        prices: Callable[[], Mapping[str, float]],
        make: Callable[[HubClient, Machine | None], HubJobs],
    ) -> None:
        self._token, self._prices, self._make = token, prices, make
        self._lock = threading.Lock()
        self._tasks: dict[str, _Asked] = {}
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

    def _asked(self, order: Order) -> _Asked:
        asked = self._tasks.setdefault(order.mark, _Asked(order, time.monotonic()))
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
                for mark in [
                    mark for mark, one in self._tasks.items() if now - one.at > _UNASKED_SECONDS
                ]:
                    del self._tasks[mark]
                if not self._tasks:
                    self._thread = None
                    return
                tasks = list(self._tasks.values())
            for one in tasks:
                if one.look.runs and not self._closed.is_set():
                    one.look = self._look_at(one)

    def _look_at(self, asked: _Asked) -> Look:
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
                self._note(order, refusal.problem, refusal.remedy)
            if not found.runs and backend.state(order).name == "done":
                return self._brought(backend, asked, found)
            return found
        except UnreachableError:
            self._note(order, words="The Hub does not answer; the job goes on")
        except UserError as error:
            self._note(order, words=error.problem, remedy=error.remedy)
        except OSError as error:  # a full disk: the next look tries again
            log.warning("%s cannot be brought here: %s", order.run.path.name, error.strerror)
        return Look(runs=True)

    def _do(self, backend: HubJobs, asked: _Asked) -> UserError | None:
        """Do what is wished; why it cannot be done now."""
        if asked.wish is None:
            return None
        # An orphan has nobody who would save.
        saves = asked.wish == "stop" and not asked.orphan
        try:
            (backend.stop if saves else backend.kill)(asked.order)
        except UserError as error:
            return error
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
        told = before or Told(_place_of(order).hardware)
        _write(order, replace(told, words=words, remedy=remedy))

    def _tell(self, backend: HubJobs, asked: _Asked) -> bool:
        """Write what is known; whether it is an orphan."""
        order = asked.order
        state, job, place = backend.state(order), backend.job(order), _place_of(order)
        if not place.seconds and job is not None and job.is_active:
            state = GONE
        before = (read_told(order.told) if order.told is not None else None) or Told(place.hardware)
        an_hour = self._prices().get(place.hardware)
        dollars, most = before.dollars, before.most
        if an_hour is not None:
            most = place.seconds / 3600 * an_hour
            dollars = dollars if job is None else job.seconds / 3600 * an_hour
        _write(order, replace(
            before,
            url=before.url if job is None else job.url,
            words=asked.trouble or state.words,
            remedy=state.remedy,
            orphan=state.orphan,
            dollars=dollars,
            most=most,
            account=before.account if job is None else backend.client.account.name,
            checkpoint=backend.checkpoint(order),
        ))  # fmt: skip
        return state.orphan

    def _brought(self, backend: HubJobs, asked: _Asked, found: Look) -> Look:
        """The look at a task that is done: it runs until all that is shown of it is here."""
        if asked.bringing is None:
            if time.monotonic() >= asked.again:
                asked.bringing = threading.Thread(
                    target=self._bring, args=(backend.client, asked), daemon=True
                )
                asked.bringing.start()
            elif asked.wish == "kill":  # who stopped it long ago waits for no files
                return Look(runs=False, exit_code=found.exit_code, problem=asked.trouble)
            return Look(runs=True)
        if asked.bringing.is_alive():
            return Look(runs=True)
        if asked.brought:
            return found
        if asked.problem is not None:
            return Look(runs=False, exit_code=found.exit_code, problem=asked.problem)
        asked.bringing = None
        asked.again = time.monotonic() + min(_PAUSE * 2 ** min(asked.tries, 9), _LONGEST_PAUSE)
        asked.tries += 1
        return Look(runs=True)

    def _bring(self, client: HubClient, asked: _Asked) -> None:
        order = asked.order
        id = run_of(order)
        trouble, may_pass = "the log of this server says why", False
        try:
            record = self._make(client, None).record(id)
            meant = {} if record is None else dict(record.meant)
            meant["output_dir"] = str(order.run.path)
            for _ in fetch(client, id, order.run, meant, without=CHECKPOINTS):
                if self._closed.is_set():
                    return
            # A terminal that began it may still go on with it.
            copies = [] if _place_of(order).found else client.names(f"{id}/{INPUTS}")
            if copies:
                client.change(delete=copies)
            asked.brought = True
            return
        except UserError as error:
            trouble = str(error)
            # Signed in anew, it goes on with the next token.
            may_pass = isinstance(error, UnreachableError) or error.field == "HF_TOKEN"
        except OSError as error:
            trouble, may_pass = error.strerror or str(error), True
        finally:
            if not asked.brought:
                asked.trouble = f"It is done, and cannot be brought here yet: {trouble}"
                if not may_pass and asked.tries + 1 >= _TRIES:
                    asked.problem = f"It is done, and cannot be brought here: {trouble}"


def _place_of(order: Order) -> Place:
    assert order.work.place is not None
    return order.work.place


def _write(order: Order, told: Told) -> None:
    if order.told is not None:
        told.write(order.told)
