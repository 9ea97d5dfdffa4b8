"""Makes a round the run's model: copies its folder, and its audit with it."""

from __future__ import annotations

import shutil
from contextlib import ExitStack

from filelock import FileLock, Timeout

from memshield.audit.report import PAGE, REPORT
from memshield.errors import UserError
from memshield.rundir import (
    RunDir,
    StatusFile,
    audit_lock_path,
    lock_path,
    new_folder,
    publish_lock_path,
)
from memshield.runs.publication import note_model


def promote(run: RunDir, number: int) -> None:
    """Copy a round's aggregate to model/, and its audit, if there is one, to audit/model/."""
    target, audited = run.audit_of(None), run.audit_of(number)
    try:
        with new_folder(run.model) as aside:
            shutil.copytree(run.rounds / str(number), aside, dirs_exist_ok=True)
            # An audit of the model that stood there before says nothing of this one, also where
            # this process is killed between the two.
            shutil.rmtree(target, ignore_errors=True)
        if (audited / REPORT).is_file():  # one that was stopped has made pictures only
            with new_folder(target) as aside:
                for name in (REPORT, PAGE):
                    if (audited / name).is_file():
                        shutil.copyfile(audited / name, aside / name)
    finally:
        note_model(run)  # which may be another one although its audit could not be copied


def promote_alone(run: RunDir, number: int, reason: str) -> None:
    """Promote a round of a finished run.

    No other process may train it, publish it or audit its model meanwhile.

    Args:
        run: the run directory.
        number: of the round.
        reason: why it is kept, in words.

    Raises:
        UserError: one does, the run has no such round, or there is no room for its copy.
    """
    require_round(run, number)
    locks = {
        lock_path(run): "trained", publish_lock_path(run): "published",
        audit_lock_path(run.audit_of(None)): "audited",
    }  # fmt: skip
    try:
        with ExitStack() as held:
            for path, done in locks.items():
                try:
                    held.enter_context(FileLock(path, timeout=0))
                except Timeout:
                    raise UserError(
                        "round", f"{run.path.name} is being {done}",
                        "Promote a round when that is through.",
                    ) from None  # fmt: skip
            promote(run, number)
            if run.read_status().get("state") == "done":
                StatusFile.amend(run, "done", f"round {number} is kept: {reason}", None)
    except OSError as error:
        raise UserError(
            "round", f"its copy cannot be made: {error.strerror or 'the disk may be full'}",
            "Make room on the disk, and try again.",
        ) from None  # fmt: skip


def require_round(run: RunDir, number: object) -> int:
    """A round of a run.

    Args:
        run: the run directory.
        number: of any type.

    Raises:
        UserError: the run has no such round.
    """
    there = run.round_numbers()
    if isinstance(number, int) and not isinstance(number, bool) and number in there:
        return number
    shown = ", ".join(map(str, there))
    remedy = f"It has the rounds: {shown}." if there else "Wait for its first round to end."
    raise UserError("round", f"there is no such model yet: round {str(number)[:40]!r}", remedy)
