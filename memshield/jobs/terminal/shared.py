"""What the commands share: their flags, the run that an id names, and questions."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from memshield.errors import UserError
from memshield.jobs.backends.hub_jobs import HubJobs
from memshield.jobs.backends.seam import Begun, Order
from memshield.jobs.ceiling import SHORTEST_SECONDS
from memshield.jobs.records import LOCAL, Place, UnansweredError, Work
from memshield.jobs.remote.client import HubClient, RemoteJob
from memshield.jobs.remote.record import RunRecord, require_run_id
from memshield.jobs.remote.rights import about_payment
from memshield.jobs.remote.submission import RunTask, default_image, start
from memshield.quantities import duration
from memshield.rundir import RunDir

PROGRAM = "python -m memshield"
TIMEOUT = "6h"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
LIVE_SECONDS, JOBS_SECONDS = 1.0, 6.0
"""Somebody waits at the terminal, for one run."""


@dataclass(frozen=True)
class RemoteRun:
    """A run on Jobs, with a copy here of what is shown of it.

    Attributes:
        backend: that runs it.
        record: of the run.
        order: its newest task.
    """

    backend: HubJobs
    record: RunRecord
    order: Order

    @property
    def client(self) -> HubClient:
        """Of the account."""
        return self.backend.client


def add_account(parser: argparse.ArgumentParser) -> None:
    """Flags that say whose jobs."""
    parser.add_argument(
        "--namespace", metavar="NAME", help="organization whose account pays [yourself]"
    )


def add_machine(parser: argparse.ArgumentParser, known: str | None = None) -> None:
    """Flags that say where and how a job is started.

    Args:
        parser: takes them.
        known: where hardware, time and image are taken from that are not given; None where the
            hardware must be, and time and image have defaults.
    """
    parser.add_argument(
        "--hardware",
        metavar="NAME",
        required=known is None,
        help="such as a10g-small or l4x1" + (f" [{known}]" if known else ""),
    )
    parser.add_argument(
        "--timeout", metavar="TIME",
        help=f"such as 90m, 6h or 2d: shortly before, it saves and stops [{known or TIMEOUT}]",
    )  # fmt: skip
    parser.add_argument(
        "--image", metavar="IMAGE",
        help="container image, or hf.co/spaces/OWNER/NAME for that of a Space, which has the "
        f"packages already [{known or default_image()}]",
    )  # fmt: skip
    parser.add_argument("--detach", action="store_true", help="start it and do not follow it")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_account(parser)


def add_token(parser: argparse.ArgumentParser) -> None:
    """The flag that sends a token into a job of an organization."""
    parser.add_argument(
        "--send_token",
        action="store_true",
        help="give your token to a job of an organization that needs one",
    )


@contextmanager
def open_run(id: str, namespace: str | None = None) -> Iterator[RemoteRun]:
    """The run that a person names; the copy of it is gone afterwards.

    Raises:
        UserError: there is no such run.
    """
    id = require_run_id(id)
    client = HubClient(namespace=namespace)
    backend = backend_of(client)
    record = backend.record(id)
    if record is None:
        raise UserError(
            "run", f"there is no run {id} in {client.bucket}", f"`{PROGRAM} runs` lists them."
        )
    with copy_of(backend, record) as run:
        yield run


def backend_of(client: HubClient) -> HubJobs:
    """The Jobs of an account, looked at closely."""
    return HubJobs(client, live_seconds=LIVE_SECONDS, jobs_seconds=JOBS_SECONDS)


@contextmanager
def copy_of(backend: HubJobs, record: RunRecord, begun: Begun | None = None) -> Iterator[RemoteRun]:
    """A run with a folder for the copy of it.

    Args:
        backend, record: of the run.
        begun: what is known of the start of its newest task.
    """
    with tempfile.TemporaryDirectory(prefix="memshield-") as folder:
        order = order_of(record, Path(folder))
        yield RemoteRun(backend, record, order if begun is None else replace(order, begun=begun))


def order_of(record: RunRecord, folder: Path) -> Order:
    """The newest task of a run; where a page started it, its mark says nothing of the run."""
    place = Place(record.hardware, record.seconds, record.id)
    return Order(
        record.mark, LOCAL, Work("train", (), place=place), RunDir(folder / record.name),
        folder / "settings.yaml", folder / "output.log",
        # The Hub's list may not have a new job at once.
        begun=Begun(record.started) if record.started else None,
    )  # fmt: skip


def start_job(
    client: HubClient, record: RunRecord, task: RunTask | None = None
) -> tuple[RunRecord, RemoteJob]:
    """Start the next job of a run; see `memshield.jobs.remote.submission.start`.

    Raises:
        UserError: the Hub refuses, or another job of it was started meanwhile, such as while its
            owner was asked; nothing is billed then.
        UnansweredError: it may have been started.
    """
    active = client.jobs(record.id, active=True)
    if active:
        raise is_busy(active[0])
    there = backend_of(client).record(record.id)
    if there is not None and there.mark != record.mark:
        raise UserError(
            "run", "another job of it was started meanwhile",
            f"`{PROGRAM} follow {record.id}` shows it.",
        )  # fmt: skip
    token = client.api.token if record.needs_token else None
    try:
        return start(client, record, token if isinstance(token, str) else None, task=task)
    except KeyboardInterrupt:
        raise UnansweredError(
            "Jobs", "interrupted while the job was started: whether it was is not known",
            f"`{PROGRAM} runs` lists it if it is there, and `{PROGRAM} stop {record.id}` ends it.",
        ) from None  # fmt: skip


def dollars_so_far(jobs: Iterable[RemoteJob], prices: dict[str, float]) -> float:
    """What jobs have cost, by the time that they ran."""
    return sum(job.seconds / 60 * prices.get(job.hardware, 0.0) for job in jobs)


def seconds_of(text: str) -> int:
    """The time limit that a person has typed, such as 6h or 90m.

    Raises:
        UserError: it is none, or too short to begin, to do something and to save.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if match is None:
        raise UserError("--timeout", f"{text!r} is no time", "Such as 90m, 6h or 2d.")
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds < SHORTEST_SECONDS:
        raise UserError(
            "--timeout", f"{text} is too short: fetching packages and saving take minutes too",
            f"Give {SHORTEST_SECONDS // 60}m or more. A job that ends earlier costs less.",
        )  # fmt: skip
    return int(seconds)


def require_hardware_name(name: str, prices: dict[str, float]) -> float:
    """The price of a hardware, in dollars a minute.

    Raises:
        UserError: the Hub has none of this name.
    """
    if name not in prices:
        raise UserError("--hardware", f"the Hub has no {name!r}", f"One of: {', '.join(prices)}.")
    return prices[name]


def is_busy(job: RemoteJob) -> UserError:
    """The error for a run that a job works on: two would overwrite each other."""
    return UserError(
        "run", f"a job works on it: {job.url}",
        f"Wait for its end, or end it: `{PROGRAM} stop {job.run}`.",
    )  # fmt: skip


def require_started(run: RemoteRun) -> None:
    """Refuse a run whose newest job the Hub does not list yet.

    Raises:
        UserError: it does not.
    """
    if run.backend.look(run.order).runs:
        raise UserError(
            "run", "its job was started a moment ago, and the Hub does not list it yet",
            "Try again in a few minutes.",
        )  # fmt: skip


def about_token(run: RemoteRun, send: bool) -> list[str]:
    """That a job is given the token of who starts it, a line; nothing where it is not.

    Args:
        run: on Jobs.
        send: whether that was asked for.

    Raises:
        UserError: others may have written what the job runs, and nobody said that it may be sent.
    """
    client = run.client
    if not run.record.needs_token:
        return []
    if client.namespace != client.account.name and not send:
        raise UserError(
            "--send_token", f"the job needs a token, and others of {client.namespace} may have "
            "written what it runs",
            "Add --send_token if you trust them: yours goes into it, as a secret.",
        )  # fmt: skip
    return ["your token goes into the job, as a secret: something private cannot be mounted"]


def about_cost(client: HubClient, hardware: str, seconds: int, price: float) -> list[str]:
    """What one more job costs, a line each.

    Args:
        client: of the account that pays.
        hardware, seconds: of the job.
        price: in dollars a minute.
    """
    most = f"for {duration(seconds, True)} and ${seconds / 60 * price:.2f} at most"
    return [
        f"{hardware}, ${price:.4f} a minute, {most}",
        *about_payment(client.account, client.namespace),
    ]


def confirm(question: str, yes: bool) -> bool:
    """Ask, unless it was answered already.

    Raises:
        UserError: nobody is there to answer.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UserError(
            "--yes", "there is no terminal to ask in", "Add --yes to go on without being asked."
        )
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl-D
        print()
        return False


def how_to_come_back(id: str, known: bool = True) -> str:
    """The commands for a run that goes on, or may do so."""
    return (
        f"It {'goes' if known else 'may go'} on. Follow it:  {PROGRAM} follow {id}\n"
        f"Stop it (it saves):     {PROGRAM} stop {id}\n"
        f"All runs, with cost:    {PROGRAM} runs"
    )
