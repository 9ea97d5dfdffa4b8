"""Hugging Face Jobs of many people, each followed with the person's own token."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

from memshield.errors import UserError
from memshield.jobs.backends.follower import Follower, place_of, write_told
from memshield.jobs.backends.hub_jobs import HubJobs, run_of
from memshield.jobs.backends.seam import Begun, Look, Order
from memshield.jobs.records import Found, UnansweredError
from memshield.jobs.remote.client import HubClient
from memshield.jobs.remote.record import new_id
from memshield.jobs.remote.runs import find_runs
from memshield.jobs.remote.submission import Machine, default_image, forget
from memshield.jobs.told import Told, read_told


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
        self._followers: dict[str, Follower] = {}

    def new_run(self, name: str) -> str:
        """An id for a run of this name, which no other has."""
        return new_id(name)

    def start(self, order: Order, token: str | None) -> Begun:
        """Start a run's first job, or one more that goes on with it.

        Raises:
            UserError: it was refused.
            UnansweredError: it may have been started.
        """
        place = place_of(order)
        client = self._client(order.owner)
        _require_its_account(order, client)
        told = Told(
            place.hardware, words="Sending the settings and the pictures",
            account=client.account.name,
        )  # fmt: skip
        write_told(order, told)
        machine = Machine(place.hardware, place.seconds, self._image)
        try:
            return self._make(client, machine).start(order, token)
        except UnansweredError:
            words = "The Hub did not say whether it has started it"
            with suppress(OSError):  # a full disk makes no refusal of it
                write_told(order, replace(told, words=words))
            raise
        except (UserError, OSError):
            with suppress(OSError):
                write_told(order, replace(told, words=""))  # nothing is sent any more
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
            UserError: it cannot be deleted now, or a job works on it.
        """
        client, id = self._client(order.owner), run_of(order)
        _require_its_account(order, client)
        for job in client.jobs(run=id, active=True):
            raise UserError(
                "job", f"a job that was started elsewhere works on it: {job.url}",
                "Stop that one first, or wait for it.",
            )  # fmt: skip
        forget(client, id)

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

    def _follower(self, owner: str) -> Follower:
        with self._lock:
            if owner not in self._followers:
                self._followers[owner] = Follower(
                    lambda: self._token_of(owner), self._prices, self._make
                )
            return self._followers[owner]


def _require_its_account(order: Order, client: HubClient) -> None:
    """Refuse to go on with a run, or to delete it, in the bucket of another account.

    Raises:
        UserError: its files are in the bucket of another one.
    """
    if order.told is None:
        return
    paths = sorted(order.told.parent.glob("task-*.json"))
    # A start that was refused left nothing there.
    accounts = [one.account for one in map(read_told, paths) if one and one.account and one.url]
    if accounts and accounts[-1] != client.account.name:
        raise UserError(
            "place", f"its files are in the bucket of {accounts[-1]}, not of {client.account.name}",
            f"Sign in as {accounts[-1]}.",
        )  # fmt: skip
