"""audit-progress.json of a run: how far an audit of it is, for whoever looks on. No torch."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from memshield.rundir import RunDir, is_alive, this_process, write_text

_SECONDS = 1.0
"""Progress is written at most this often."""


@dataclass(frozen=True)
class AuditProgress:
    """How far an audit is.

    Attributes:
        what: is being done, as `ModelMeasurer` names it.
        done, total: pictures.
        eta_s: seconds left of this part, by its pace; None before it has one.
    """

    what: str
    done: int
    total: int
    eta_s: float | None


class AuditProgressFile:
    """Writes how far an audit of a run is; `clear` ends it.

    Args:
        run: that is audited.
    """

    def __init__(self, run: RunDir) -> None:
        self._path = path_of(run)
        self._process = this_process(0)
        self._part, self._done = ("", 0), 0
        self._first, self._begun, self._written = 0, 0.0, 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        """Note that `done` of `total` are done of what is being done."""
        now = time.time()
        if (what, total) != self._part or done < self._done:  # two parts can have one name
            self._part, self._first, self._begun, self._written = (what, total), done, now, 0.0
        self._done = done
        if now - self._written < _SECONDS:
            return
        self._written = now
        made = done - self._first  # what was there already took no time of this part
        eta = round((now - self._begun) / made * (total - done), 1) if made else None
        values = {**asdict(AuditProgress(what, done, total, eta)), "process": self._process}
        with contextlib.suppress(OSError):  # a full disk ends the audit elsewhere, with words
            write_text(self._path, json.dumps(values), sync=False)

    def clear(self) -> None:
        """Nothing is audited any more."""
        self._path.unlink(missing_ok=True)


def path_of(run: RunDir) -> Path:
    """Where it lies."""
    return run.path / "audit-progress.json"


def read_audit_progress(run: RunDir) -> AuditProgress | None:
    """How far an audit of a run is; None where none runs."""
    try:
        values: Any = json.loads(path_of(run).read_text(encoding="utf-8"))
        if not is_alive(values["process"]):
            return None
        eta = values["eta_s"]
        return AuditProgress(
            str(values["what"]), int(values["done"]), int(values["total"]),
            None if eta is None else float(eta),
        )  # fmt: skip
    except (OSError, ValueError, TypeError, KeyError):  # none, or of another version
        return None
