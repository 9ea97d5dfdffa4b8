"""`python -m memshield fetch ID`: the run directory of a training on Jobs, here."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from memshield.config.flags import plain_parser
from memshield.errors import UserError
from memshield.jobs.folders import is_run_of_server
from memshield.jobs.remote.client import HubClient
from memshield.jobs.remote.live import Live, fetch, read_live
from memshield.jobs.remote.places import INPUTS
from memshield.jobs.remote.submission import CHECKPOINTS
from memshield.jobs.terminal.shared import PROGRAM, RemoteRun, add_account, open_run
from memshield.paths import expanded
from memshield.quantities import plural
from memshield.rundir import RunDir, lock_path, write_text

_RUNS = Path("runs")
ORIGIN = ".jobs.json"
"""File of a run directory that says which run on Jobs it is a copy of, and of which state."""


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
    _is_idle(client, record.id, delete)
    live = bring(remote, here)
    if not _is_idle(client, record.id, delete):  # it may have been resumed meanwhile
        return 0
    done = live.status.get("state") == "done"
    gone = client.names(record.id) if delete else []
    if live.has_model and not delete:
        gone = client.names(f"{record.id}/{INPUTS}")
    if gone:
        client.change(delete=gone)
        what = "The run was" if delete else "The copies of your files were"
        print(f"{what} deleted from {client.bucket}.")
    if not done and not delete:
        print(f"It is not done. Go on there:  {PROGRAM} resume {record.id}")
    return 0


def _is_idle(client: HubClient, id: str, delete: bool) -> bool:
    active = client.jobs(id, active=True)
    if active and delete:
        raise UserError("--delete", f"a job works on it: {active[0].url}", "Stop it first.")
    return not active


def bring(remote: RemoteRun, here: RunDir, to_go_on: bool = True) -> Live:
    """Write a run, as it is now, to a folder.

    Args:
        remote: the run.
        here: the run directory to write.
        to_go_on: whether the checkpoints of a run that is done are brought as well.

    Raises:
        UserError: something else is there, it is or was trained here, or it has written nothing.
    """
    client, record = remote.client, remote.record
    live = read_live(client, record.id)
    if live is None or not live.files:
        raise UserError("run", f"{record.id} has written nothing yet", "Follow it, or wait.")
    _require_own(here, record.id)
    try:
        here.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # such as the folder of another machine
        why = f"{here.path} cannot be made: {error.strerror}"
        raise UserError("output_dir", why, _elsewhere(record.id)) from None
    try:
        with FileLock(lock_path(here), timeout=0):
            if was_changed(here, record.id):
                raise UserError(
                    "output_dir", f"the run in {here.path} was changed since it was fetched",
                    _elsewhere(record.id),
                )  # fmt: skip
            origin: dict[str, Any] = {"id": record.id}
            write_text(here.path / ORIGIN, json.dumps(origin))
            meant = {**record.meant, "output_dir": str(here.path)}
            done = live.status.get("state") == "done"
            without = CHECKPOINTS if done and not to_go_on else None
            files = fetch(client, record.id, here, meant, without)
            count = sum(1 for _ in tqdm(files, total=len(live.files), unit="file", file=sys.stderr))
            origin["state"] = _state(here)
            write_text(here.path / ORIGIN, json.dumps(origin))
    except Timeout:
        raise UserError("output_dir", f"{here.path} is being trained", "Wait for it.") from None
    print(f"{record.id} is in {here.path}: {plural(count, 'new file')}")
    return live


def folder_of(remote: RemoteRun) -> RunDir:
    """Where a run belongs here: where it was fetched to before, else its output_dir.

    The output_dir of a run that a page started is the page's, and everybody of an organization may
    have written the records in its bucket: such runs belong below `runs/`.
    """
    record, client = remote.record, remote.client
    meant = expanded(record.meant.get("output_dir") or "")
    is_own = client.namespace == client.account.name and not is_run_of_server(meant)
    places = [_RUNS / record.name, _RUNS / record.id]
    if is_own and meant.parts:
        places = [meant]
    for place in (places[0], *_copies_below(Path()), *_copies_below(_RUNS)):
        if _read_origin(place).get("id") == record.id:
            return RunDir(place)
    return RunDir(next((place for place in places if not place.exists()), places[-1]))


def _copies_below(folder: Path) -> list[Path]:
    return [path.parent for path in sorted(folder.glob(f"*/{ORIGIN}"))]


def _read_origin(place: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((place / ORIGIN).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _require_own(here: RunDir, id: str) -> None:
    if _read_origin(here.path).get("id") == id:
        return
    if here.is_run() or (here.path.is_dir() and any(here.path.iterdir())):
        what = "another run" if here.is_run() else "other files"
        raise UserError("output_dir", f"{here.path} holds {what}", _elsewhere(id))


def was_changed(here: RunDir, id: str) -> bool:
    """Whether a copy of a run was trained here since, or another round of it made the model."""
    origin = _read_origin(here.path)
    return origin.get("id") == id and origin.get("state", _state(here)) != _state(here)


def _state(here: RunDir) -> list[Any]:
    return [here.read_status().get("attempt"), here.round_of_model()]


def _elsewhere(id: str) -> str:
    return f"Bring it to another folder:  {PROGRAM} fetch {id} --output_dir DIR"
