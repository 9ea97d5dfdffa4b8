"""`python -m memshield runs`: trainings of this machine and on Jobs, with state and cost."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from memshield.config.flags import plain_parser
from memshield.errors import UserError
from memshield.hub.account import own_token
from memshield.hub.catalog.table import table
from memshield.jobs.remote.client import HubClient, RemoteJob, UnreachableError
from memshield.jobs.remote.live import read_live
from memshield.jobs.remote.record import REQUEST
from memshield.jobs.remote.states import GONE, RemoteState, state_of
from memshield.jobs.terminal.shared import PROGRAM, add_account, confirm, dollars_so_far
from memshield.rundir import RunDir, is_alive

_MOST = 20


@dataclass(frozen=True)
class Listed:
    """A run on Jobs.

    Attributes:
        id: of the run.
        jobs: newest first.
        state: of the newest.
        dollars: that all of them cost so far.
    """

    id: str
    jobs: tuple[RemoteJob, ...]
    state: RemoteState
    dollars: float


def main(argv: Sequence[str]) -> int:
    """List runs."""
    parser = plain_parser(
        f"{PROGRAM} runs", "List trainings of this machine and on Jobs, with state and cost."
    )
    parser.add_argument("--folder", metavar="DIR", default="runs", help="of runs here [runs]")
    parser.add_argument("--all", action="store_true", help=f"on Jobs more than the newest {_MOST}")
    parser.add_argument(
        "--stop_orphans", action="store_true",
        help="offer to cancel jobs that are billed and write nothing",
    )  # fmt: skip
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_account(parser)
    flags = parser.parse_args(argv)
    folder = Path(flags.folder)
    if flags.folder != parser.get_default("folder") and not folder.is_dir():
        print(f"Here: {folder} is no folder.")
    local = list(_local(folder))
    if local:
        print(table(("HERE", "STATE", "STEP:"), local), end="\n\n")
    if own_token() is None:
        print("On Jobs: set HF_TOKEN, or run `hf auth login`, to see them.")
        return 0
    client = HubClient(namespace=flags.namespace)
    found = list_runs(client, None if flags.all else _MOST)
    if not found:
        print("On Jobs: none.")
        return 0
    rows = [
        (one.id, one.state.words, one.jobs[0].hardware, f"${one.dollars:.2f}", one.jobs[0].url)
        for one in found
    ]
    print(table(("ON JOBS", "STATE", "HARDWARE", "COST:", "LINK"), rows))
    orphans = [one for one in found if one.state.orphan]
    for one in orphans:
        print(f"\n{one.id} is billed, and nothing comes of it. {one.state.remedy}")
        if not flags.stop_orphans:
            print(f"  {PROGRAM} runs --stop_orphans")
        elif confirm(f"Cancel {one.jobs[0].url}?", flags.yes):
            client.cancel(one.jobs[0].id)
            print("  It was cancelled; what is in the bucket is whole.")
    return 0


def list_runs(client: HubClient, most: int | None = None) -> list[Listed]:
    """Runs on Jobs, found by their label, those of the newest jobs first.

    Args:
        client: of the account.
        most: how many; None for all. Runs with an active job are always among them.
    """
    jobs: dict[str, list[RemoteJob]] = defaultdict(list)
    for job in client.jobs():
        if job.run:
            jobs[job.run].append(job)
    prices = client.prices()
    found = []
    for number, (id, of_run) in enumerate(jobs.items()):
        if most is not None and number >= most and not any(job.is_active for job in of_run):
            continue
        state = _state(client, id, of_run[0])
        found.append(Listed(id, tuple(of_run), state, dollars_so_far(of_run, prices)))
    return found


def _state(client: HubClient, id: str, job: RemoteJob) -> RemoteState:
    try:
        if job.is_active and client.read(f"{id}/{REQUEST}") is None:
            return GONE
        return state_of(job, read_live(client, id), time.time())
    except UnreachableError:
        raise
    except UserError as error:  # what cannot be read of one run hides no other
        return RemoteState("silent", f"What it wrote cannot be read: {error.problem}")


def _local(folder: Path) -> list[tuple[str, str, str]]:
    rows = []
    for path in sorted(folder.glob("*/")) if folder.is_dir() else []:
        status = RunDir(path).read_status()
        if not status:
            continue
        state = str(status.get("state"))
        alive = any(map(is_alive, status.get("processes", [])))
        if state in ("preparing", "running") and not alive:
            state = "died"
        step, total = status.get("step"), status.get("total_steps")
        rows.append((str(path), state, f"{step} of {total}" if step and total else ""))
    return rows
