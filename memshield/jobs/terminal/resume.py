"""`python -m memshield resume ID`: a new job goes on from the last checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from memshield.config.flags import plain_parser
from memshield.errors import UserError
from memshield.jobs.remote.live import read_live
from memshield.jobs.remote.record import SETTINGS
from memshield.jobs.remote.rights import require_right_to_start
from memshield.jobs.remote.submission import processes_for
from memshield.jobs.terminal.follow import follow_started
from memshield.jobs.terminal.shared import (
    PROGRAM,
    RemoteRun,
    about_cost,
    about_token,
    add_machine,
    add_token,
    confirm,
    is_busy,
    open_run,
    require_hardware_name,
    require_started,
    seconds_of,
    start_job,
)


def main(argv: Sequence[str]) -> int:
    """Start the next job of a run, and follow it."""
    parser = plain_parser(
        f"{PROGRAM} resume",
        "Go on with a training on Jobs that was stopped, ran out of time or was ended. Hardware, "
        "time limit and image are those of before unless others are given.",
    )
    parser.add_argument("run", metavar="ID")
    add_machine(parser, "that of the last job")
    add_token(parser)
    flags = parser.parse_args(argv)
    with open_run(flags.run, flags.namespace) as run:
        client, record = run.client, run.record
        require_right_to_start(client.account, client.namespace)
        require_ended(run)
        settings = client.read(f"{record.id}/{SETTINGS}")
        if settings is None or settings.data is None:
            raise UserError("run", "its settings are gone from the bucket", "Submit it anew.")
        hardware = flags.hardware or record.hardware
        seconds = record.seconds if flags.timeout is None else seconds_of(flags.timeout)
        price = require_hardware_name(hardware, client.prices())
        shards = int(yaml.safe_load(settings.data)["num_shards"])
        changes = {
            "hardware": hardware, "seconds": seconds, "image": flags.image or record.image,
            "processes": processes_for(hardware, shards),
        }  # fmt: skip
        told = about_token(run, flags.send_token)
        print("\n".join((*about_cost(client, hardware, seconds, price), *told)))
        if not confirm(f"Go on with {record.id}?", flags.yes):
            print("Nothing was started.")
            return 1
        record, job = start_job(client, record.model_copy(update=changes))
    return follow_started(client, record, job, flags.detach)


def require_ended(run: RemoteRun) -> None:
    """Refuse a run that a job works on, or that is done: two jobs would overwrite each other.

    Raises:
        UserError: saying which.
    """
    active = run.client.jobs(run.record.id, active=True)
    if active:
        raise is_busy(active[0])
    require_started(run)
    live = read_live(run.client, run.record.id)
    if live is not None and live.status.get("state") == "done":
        raise UserError("run", "it is done", f"`{PROGRAM} fetch {run.record.id}` brings it here.")
