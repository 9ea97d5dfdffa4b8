"""`python -m memshield fetch ID`: the run directory of a training on Jobs, here."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from memshield.config.flags import plain_parser
from memshield.errors import UserError
from memshield.jobs.folders import is_run_of_server
from memshield.jobs.remote.live import Live, fetch, read_live
from memshield.jobs.remote.places import INPUTS
from memshield.jobs.remote.submission import CHECKPOINTS
from memshield.jobs.terminal.shared import PROGRAM, RemoteRun, add_account, open_run
from memshield.rundir import RunDir, lock_path, write_text

_RUNS = Path("runs")
ORIGIN = ".jobs.json"
"""File of a run directory that says which run on Jobs it is a copy of."""


def main(argv: Sequence[str]) -> int:
    """Fetch a run."""
    parser = plain_parser(
        f"{PROGRAM} fetch",
        "Bring the run directory of a training on Jobs here, to audit, publish or go on with it. "
        "Again, it brings what is new. Of a run that is done, the copies of your own pictures in "
        "the bucket are deleted.",
    )
    parser.add_argument("run", metavar="ID")
    parser.add_argument(
        "--output_dir",
        metavar="DIR",
        help="where to [where it was fetched to before, output_dir of its settings, or runs/NAME]",
    )
    parser.add_argument(
        "--delete", action="store_true", help="delete all of it from the bucket afterwards"
    )
    add_account(parser)
    flags = parser.parse_args(argv)
    with open_run(flags.run, flags.namespace) as run:
        here = RunDir(flags.output_dir) if flags.output_dir else folder_of(run)
        return fetch_to(run, here, flags.delete)


def fetch_to(remote: RemoteRun, here: RunDir, delete: bool = False) -> int:
    """Fetch a run to a folder.

    Args:
        remote: the run.
        here: the run directory to write.
        delete: whether all of it is deleted from the bucket afterwards.

    Raises:
        UserError: another run is there, it has written nothing, or a job still works on it.
    """
    client, record = remote.client, remote.record
    active = client.jobs(record.id, active=True)
    if delete and active:
        raise UserError("--delete", f"a job works on it: {active[0].url}", "Stop it first.")
    live = bring(remote, here)
    if active:
        return 0
    done = live.status.get("state") == "done"
    gone = client.names(record.id) if delete else []
    if done and not delete:
        gone = client.names(f"{record.id}/{INPUTS}")
    if gone:
        client.change(delete=gone)
        what = "The run was" if delete else "The copies of your files were"
        print(f"{what} deleted from {client.bucket}.")
    if not done:
        print(f"It is not done. Go on there:  {PROGRAM} resume {record.id}")
    return 0


def bring(remote: RemoteRun, here: RunDir, to_go_on: bool = True) -> Live:
    """Write a run, as it is now, to a folder.

    Args:
        remote: the run.
        here: the run directory to write.
        to_go_on: whether the checkpoints of a run that is done are brought as well.

    Raises:
        UserError: another run is there, it is being trained here, or it has written nothing.
    """
    client, record = remote.client, remote.record
    live = read_live(client, record.id)
    if live is None or not live.files:
        raise UserError("run", f"{record.id} has written nothing yet", "Follow it, or wait.")
    _require_own(here, record.id)
    here.path.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock_path(here), timeout=0):
            write_text(here.path / ORIGIN, json.dumps({"id": record.id}))
            meant = {**record.meant, "output_dir": str(here.path)}
            done = live.status.get("state") == "done"
            without = CHECKPOINTS if done and not to_go_on else None
            files = fetch(client, record.id, here, meant, without)
            count = sum(1 for _ in tqdm(files, total=len(live.files), unit="file", file=sys.stderr))
    except Timeout:
        raise UserError("output_dir", f"{here.path} is being trained", "Wait for it.") from None
    print(f"{record.id} is in {here.path}: {count} new files")
    return live


def folder_of(remote: RemoteRun) -> RunDir:
    """Where a run belongs here: where it was fetched to before, else its output_dir.

    The output_dir of a run that a page started is the page's, and everybody of an organization may
    have written the records in its bucket: such runs belong below `runs/`.
    """
    record, client = remote.record, remote.client
    meant = Path(record.meant.get("output_dir") or "")
    is_own = client.namespace == client.account.name and not is_run_of_server(meant)
    places = [_RUNS / record.name, _RUNS / record.id]
    if is_own and meant.parts:
        places = [meant]
    for place in (places[0], *_copies_below(Path()), *_copies_below(_RUNS)):
        if _origin(place) == record.id:
            return RunDir(place)
    return RunDir(next((place for place in places if not place.exists()), places[-1]))


def _copies_below(folder: Path) -> list[Path]:
    return [path.parent for path in sorted(folder.glob(f"*/{ORIGIN}"))]


def _origin(place: Path) -> str | None:
    """The id of the run on Jobs that a folder is a copy of."""
    try:
        return str(json.loads((place / ORIGIN).read_text(encoding="utf-8"))["id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _require_own(here: RunDir, id: str) -> None:
    if here.is_run() and _origin(here.path) != id:
        raise UserError(
            "output_dir", f"{here.path} holds another run",
            f"Bring it to another folder:  {PROGRAM} fetch {id} --output_dir DIR",
        )  # fmt: skip
