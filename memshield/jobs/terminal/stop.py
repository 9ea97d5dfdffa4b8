"""`python -m memshield stop ID`: a training on Jobs saves, then ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from memshield.config.flags import plain_parser
from memshield.jobs.terminal.shared import PROGRAM, RemoteRun, add_account, open_run

PATIENCE = 600.0
"""Seconds that a stop may take: a step, a checkpoint, and its copy to the bucket."""
_SECONDS = 0.5


def main(argv: Sequence[str]) -> int:
    """Stop a run."""
    parser = plain_parser(
        f"{PROGRAM} stop",
        "Stop a training on Jobs: it saves a checkpoint and ends, and is billed no more.",
    )
    parser.add_argument("run", metavar="ID")
    parser.add_argument(
        "--now", action="store_true", help="cancel the job at once; it saves nothing more"
    )
    add_account(parser)
    flags = parser.parse_args(argv)
    with open_run(flags.run, flags.namespace) as run:
        return stop(run, 0.0 if flags.now else PATIENCE)


def stop(
    run: RemoteRun, patience: float = PATIENCE, sleep: Callable[[float], None] = time.sleep
) -> int:
    """Ask a run to stop, and cancel its job where it does not in time.

    Args:
        run: on Jobs.
        patience: seconds to wait before the job is cancelled.
        sleep: waits.

    Returns:
        0 where nothing of it is billed any more.
    """
    backend, order, id = run.backend, run.order, run.record.id
    if not backend.look(order).runs:
        print(f"It has ended already. {backend.state(order).words}")
        return _stop_others(run, now=not patience)
    deadline = time.monotonic() + patience
    if patience:
        backend.stop(order)
        print("Asked to save and to end. This takes as long as a step and a checkpoint.")
    try:
        while backend.look(order).runs and time.monotonic() < deadline:
            sleep(_SECONDS)
    except KeyboardInterrupt:
        print(f"\nIt may run still. See whether it has ended:  {PROGRAM} follow {id}")
        return 1
    if backend.look(order).runs:
        if not backend.kill(order):
            backend.stop(order)
            print(
                "The Hub does not list its job yet. It ends as soon as it begins; to cancel it "
                f"before, try again in a minute, or see:  {PROGRAM} follow {id}"
            )
            return 1
        print("The job was cancelled: it is billed no more.")
    else:
        print(backend.state(order).words)
    job = backend.job(order)
    if job is None or job.kind == "train":
        print(f"Go on with it:  {PROGRAM} resume {id}")
    print(f"Bring it here:  {PROGRAM} fetch {id}")
    return 0


def _stop_others(run: RemoteRun, now: bool) -> int:
    """See to jobs of a run that its record does not know of, such as one whose start was lost."""
    others = run.client.jobs(run.record.id, active=True)
    for job in others:
        if now:
            run.client.cancel(job.id)
            print(f"{job.url} was cancelled: it is billed no more.")
        else:
            print(f"Another job works on it: {job.url}")
    if others and not now:
        print(f"Cancel it:  {PROGRAM} stop {run.record.id} --now")
    return 1 if others and not now else 0
