"""Reads audits of a run; a report is cached until its file changes."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from memshield.audit.report import REPORT, Report
from memshield.errors import UserError
from memshield.rundir import RunDir

BASE = "base"
"""Name of the base's audit, among a run's."""


def read_audit(run: RunDir, round: int | None = None) -> Report | None:
    """The audit of a round, or of the chosen model; None where there is none.

    Raises:
        UserError: it is of another version, or not a report.
    """
    return report_in(run.audit_of(round))


def report_in(folder: Path) -> Report | None:
    """The report in an audit's folder; None where there is none.

    Raises:
        UserError: see `read_audit`.
    """
    path = folder / REPORT
    try:
        stat = path.stat()
    except OSError:
        return None
    return _read(path, stat.st_mtime_ns, stat.st_size)


def readable_in(folder: Path) -> Report | None:
    """The report in an audit's folder, if it can be read."""
    try:
        return report_in(folder)
    except UserError:  # of another version: the audit's own view says so
        return None


def same_pictures(one: Report, other: Report) -> bool:
    """Whether two audits are of the same training pictures, at one resolution, cut alike."""
    ours, theirs = (
        (data.fingerprint, data.resolution, data.compared_crops) for data in (one.data, other.data)
    )
    return ours == theirs


def base_beside(run: RunDir, report: Report | None) -> Report | None:
    """The audit of a run's base on the same pictures; None where none can be read.

    Args:
        run: `audit --beside base` leaves it there.
        report: of the run's model, or of a round.
    """
    base = readable_in(run.path / "audit" / BASE)
    return base if base and report and same_pictures(base, report) else None


def read_rounds(run: RunDir) -> dict[int, Report]:
    """The audits of rounds that can be read, by round."""
    found = {}
    for folder in (run.path / "audit").glob("round-*"):
        match = re.fullmatch(r"round-(\d{1,9})", folder.name)
        report = readable_in(folder) if match is not None else None
        if match is not None and report is not None:
            found[int(match[1])] = report
    return dict(sorted(found.items()))


@lru_cache(maxsize=256)
def _read(path: Path, mtime: int, size: int) -> Report:
    return Report.read(path)
