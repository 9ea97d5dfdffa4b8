"""`python -m memshield follow ID|DIR`: the bar of a training on Jobs, or of one on this machine."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from memshield.audit.progress_file import AuditProgress, read_audit_progress
from memshield.config.file import read_yaml
from memshield.config.flags import plain_parser
from memshield.errors import UserError
from memshield.jobs.backends.seam import Begun
from memshield.jobs.logs import tail, without_launcher
from memshield.jobs.remote.client import HubClient, RemoteJob
from memshield.jobs.remote.record import RunRecord
from memshield.jobs.terminal.fetch import folder_of
from memshield.jobs.terminal.shared import (
    PROGRAM,
    RemoteRun,
    add_account,
    backend_of,
    copy_of,
    how_to_come_back,
    open_run,
)
from memshield.quantities import duration, plural
from memshield.rundir import RunDir, is_alive
from memshield.runs.progress import read_progress
from memshield.runs.state import RunProgress
from memshield.training.bar import Bar
from memshield.training.failures import way_on

_SECONDS, _SECONDS_BEFORE = 0.5, 0.2
"""Between two looks at the copy of a run; before there is a bar somebody waits for it."""
_LAST_LINES = 15


def main(argv: Sequence[str]) -> int:
    """Follow a run."""
    parser = plain_parser(
        f"{PROGRAM} follow", "Follow a training to its end. Ctrl-C leaves it running."
    )
    parser.add_argument("run", metavar="ID|DIR", help="a run on Jobs, or a run directory")
    add_account(parser)
    flags = parser.parse_args(argv)
    if Path(flags.run).is_dir():
        return follow_here(RunDir(flags.run))
    with open_run(flags.run, flags.namespace) as run:
        return follow(run)


def follow_started(client: HubClient, record: RunRecord, job: RemoteJob, detach: bool) -> int:
    """Say what was started, and follow it unless nobody wants to.

    Args:
        client: of the account.
        record, job: as they are since the start.
        detach: whether it is not followed.
    """
    print(f"started       {record.id}: {job.url}", flush=True)
    if detach:
        print(how_to_come_back(record.id))
        return 0
    # The Hub's list may not have a new job at once, which is not gone for that.
    with copy_of(backend_of(client), record, Begun(job.created)) as run:
        return follow(run)


def follow(run: RemoteRun, sleep: Callable[[float], None] = time.sleep) -> int:
    """Follow a run on Jobs until it ends, or until Ctrl-C, which leaves it running.

    Returns:
        0 where it is done, was stopped or goes on; 1 where it failed.

    Raises:
        UserError: the Hub refuses to tell; the job may go on.
        OSError: this disk takes no copy of it; the job may go on.
    """
    shown, said = _Shown(), ""
    backend, order = run.backend, run.order
    try:
        while (look := backend.look(order)).runs:
            silence = backend.unreachable_for(order)
            words = backend.state(order).words if backend.job(order) else "Starting"
            if silence > 0:
                words = "The Hub does not answer; the job goes on"
                if silence > 60:
                    words += f" (for {plural(round(silence / 60), 'minute')})"
            if words != said and words != "Training":
                shown.say(words)
            said = words
            _show(shown, run)
            sleep(_SECONDS if shown.has_bar or silence > 0 else _SECONDS_BEFORE)
    except KeyboardInterrupt:
        shown.close()
        print(f"\n{how_to_come_back(run.record.id)}")
        return 0
    except (UserError, OSError):
        shown.close()
        print(how_to_come_back(run.record.id, known=False))
        raise
    _show(shown, run)
    shown.close()
    job = backend.job(order)
    if job is not None and job.kind != "train":
        return _tell_end_of_task(run, look.exit_code == 0)
    return _tell_end(run, look.exit_code == 0)


def _show(shown: _Shown, run: RemoteRun) -> None:
    job = run.backend.job(run.order)
    if job is not None and job.kind != "train":
        shown.move_task(read_audit_progress(run.order.run))
    else:
        shown.move(read_progress(run.order.run))


def _tell_end_of_task(run: RemoteRun, well: bool) -> int:
    state, id = run.backend.state(run.order), run.record.id
    print(state.words if not state.remedy else f"{state.words}. {state.remedy}")
    for line in without_launcher(tail(run.order.output, 4 * _LAST_LINES))[-_LAST_LINES:]:
        if not line.startswith("/"):  # a path of the container
            print(line if well else f"  {line}", file=sys.stdout if well else sys.stderr)
    if state.name == "done":
        print(f"Bring it here:  {PROGRAM} fetch {id}\nPublish it:     {PROGRAM} publish {id}")
    return 0 if well else 1


def _tell_end(run: RemoteRun, well: bool) -> int:
    state, id = run.backend.state(run.order), run.record.id
    print(state.words if not state.remedy else f"{state.words}. {state.remedy}")
    if not well:
        lines = without_launcher(tail(run.order.output, 4 * _LAST_LINES))[-_LAST_LINES:]
        if not lines and (job := run.backend.job(run.order)) is not None:
            lines = run.client.last_lines(job.id, _LAST_LINES)
        for line in lines:
            print(f"  {line}", file=sys.stderr)
    if state.name == "done":
        here = folder_of(run).path
        print(f"Bring it here:  {PROGRAM} fetch {id}")
        print(f"Then audit it:  {PROGRAM} audit {here}")
        if run.record.publishes:
            print(f"And publish:    {PROGRAM} publish {here}")
        print(f"Or audit there: {PROGRAM} audit {id} --hardware {run.record.hardware}")
    else:
        print(f"Go on with it:  {PROGRAM} resume {id}")
    return 0 if well else 1


def follow_here(run: RunDir, sleep: Callable[[float], None] = time.sleep) -> int:
    """Follow a run of this machine until it ends; Ctrl-C leaves it running.

    Raises:
        UserError: there is none.
    """
    if not run.is_run() and not run.read_status():
        raise UserError("run", f"{run.path} holds no run", "Give the output_dir of a training.")
    shown = _Shown()
    try:
        while True:
            status = run.read_status()
            shown.move(read_progress(run))
            alive = any(map(is_alive, status.get("processes", [])))
            if status.get("state") not in ("preparing", "running") or not alive:
                break
            sleep(_SECONDS)
    except KeyboardInterrupt:
        shown.close()
        print(f"\nIt goes on. Follow it:  {PROGRAM} follow {run.path}")
        return 0
    shown.close()
    state = status.get("state") or "not begun"
    words = "died" if state in ("preparing", "running") else state
    reason = status.get("reason")
    if words == "died":
        settings = read_yaml(run.config) if run.config.is_file() else {}
        back = str(settings.get("resume_from_checkpoint", "latest"))
        reason = f"its process was killed. {way_on(back)}"
    print(f"{words}: {reason}" if reason else words)
    return 1 if words in ("died", "failed") else 0


class _Shown:
    """What the terminal shows: a line a state, then the bar."""

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._task: Any = None
        self._begun = time.monotonic()

    @property
    def has_bar(self) -> bool:
        """Whether there is a bar."""
        return self._bar is not None or self._task is not None

    def say(self, words: str) -> None:
        """A line of its own."""
        print(f"[{duration(time.monotonic() - self._begun)}] {words}", file=sys.stderr, flush=True)

    def move(self, progress: RunProgress) -> None:
        """Show the newest figures."""
        if progress.total is None:
            return
        if self._bar is None:
            self._bar = Bar(
                progress.total, progress.step, progress.rounds or 1, progress.shards or 1
            )
        if progress.round is not None and progress.loss is not None:
            self._bar.describe(
                progress.round, progress.shard or 1, progress.loss, progress.kept or 0.0
            )
        self._bar.move(progress.step)

    def move_task(self, progress: AuditProgress | None) -> None:
        """Show how far an audit is."""
        if progress is None:
            return
        if self._task is None or self._task.desc != progress.what:
            if self._task is not None:
                self._task.close()
            self._task = tqdm(total=progress.total, desc=progress.what, unit="picture")
        self._task.update(progress.done - self._task.n)

    def close(self) -> None:
        """Leave the bar as it is."""
        for bar in (self._bar, self._task):
            if bar is not None:
                bar.close()
