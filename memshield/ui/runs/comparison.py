"""Audits to compare a run with: its base, and the owner's other runs on the same pictures."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from memshield.audit.report import Report
from memshield.config.mitigation import is_plain
from memshield.jobs.records import Job
from memshield.jobs.service import Jobs
from memshield.runs.reports import BASE, base_beside, readable_in, same_pictures


@dataclass(frozen=True)
class Beside:
    """An audit that can be shown beside a run's.

    Attributes:
        id: of the job, or `BASE`.
        name: to display, unique.
        report: the audit.
    """

    id: str
    name: str
    report: Report

    @property
    def plain(self) -> bool:
        """Whether its model was trained without mitigation."""
        return _is_plain(self.report)


def comparable(jobs: Jobs, owner: str, job: Job, audited: Report | None) -> list[Beside]:
    """List the audits to compare a run with: its base first, then the newest runs.

    Args:
        jobs: of all owners.
        owner: of the run.
        job: of the run.
        audited: any audit of the run; without one there is nothing to compare.
    """
    if audited is None:
        return []
    found = []
    for other in jobs.list(owner):
        if other.id != job.id:
            report = readable_in(jobs.folders.run(other).audit_of(None))
            if report is not None and same_pictures(report, audited):
                found.append((other, report))
    names = _names(found)
    beside = [
        Beside(other.id, name, report) for (other, report), name in zip(found, names, strict=True)
    ]
    base = base_beside(jobs.folders.run(job), audited)
    if base is not None:
        beside.insert(0, Beside(BASE, BASE, base))
    return beside


def _names(found: Sequence[tuple[Job, Report]]) -> list[str]:
    """Name runs; a date and a number distinguish those of the same name."""
    plain = [_name(job, report) for job, report in found]
    often = Counter(plain)
    names: list[str] = []
    for (job, _), name in zip(found, plain, strict=True):
        if often[name] > 1 or name == BASE:
            name += time.strftime(" (%d %b, %H:%M)", time.localtime(job.created))
        copies = sum(one == name or one.startswith(f"{name}, no. ") for one in names)
        names.append(name if not copies else f"{name}, no. {copies + 1}")
    return names


def _name(job: Job, report: Report) -> str:
    told = "plain" in job.title or not _is_plain(report)
    return job.title if told else f"{job.title}, plain"


def _is_plain(report: Report) -> bool:
    """Whether the model is known to be trained plainly; of a stranger's, nothing is known."""
    made = report.target.mitigation
    return bool(made) and is_plain(made)
