"""The visitor's runs as rows: thumbnail, title, state, verdict and age."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from memshield.audit.statements import Tone, statements_of
from memshield.jobs.records import Job
from memshield.jobs.service import Jobs
from memshield.jobs.view import JobView
from memshield.jobs.words import PUBLICATION_TITLES, TITLES, TRAINING_TITLES
from memshield.runs.progress import fingerprint
from memshield.runs.reports import base_beside, readable_in
from memshield.ui.runs.elsewhere import place_of
from memshield.ui.runs.pictures import newest_sample
from memshield.ui.widgets.pictures import Picture
from memshield.ui.widgets.templates import render
from memshield.ui.widgets.words import STATE_MARKS, age

PICTURED = 40
"""Rows with a thumbnail: the newest."""
_SIDE = 96
_KEPT = 512
_FRESH_SECONDS = 2.0
_SETTLED = ("stopped", "failed", "done")
_BUSY = ("waiting", "needs_sign_in", "preparing", "running", "stopping")


@dataclass(frozen=True)
class RunRow:
    """A run in the list.

    Attributes:
        id, title, created: of the job.
        state: in words.
        mark: the style class of the state.
        verdict: short forms of the audit's statements, each with its tone.
        place: its machine and cost so far; "" for this machine.
        picture: the newest grid of samples, never a training picture; None where there is none.
        settled: whether only its files can change it.
    """

    id: str
    title: str
    created: float
    state: str
    mark: str
    verdict: tuple[tuple[str, Tone], ...]
    place: str
    picture: Picture | None = field(repr=False)
    settled: bool


class RunRows:
    """Reads the rows of owners, at most once in two seconds, for all pages that are open."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._lock = threading.Lock()
        self._of_owner: OrderedDict[str, tuple[float, tuple[RunRow, ...]]] = OrderedDict()
        self._settled: OrderedDict[tuple[Job, str], RunRow] = OrderedDict()

    def of(self, owner: str, anew: bool = False) -> tuple[RunRow, ...]:
        """The rows of an owner, newest first.

        Args:
            owner: of the jobs.
            anew: read them even if they were read a moment ago.
        """
        now = time.monotonic()
        with self._lock:
            read, rows = self._of_owner.get(owner, (0.0, ()))
        if read and not anew and now - read < _FRESH_SECONDS:
            return rows
        rows = tuple(self._row(job) for job in self._jobs.list(owner))
        with self._lock:
            self._of_owner[owner] = (now, rows)
            _trim(self._of_owner)
        return rows

    def _row(self, job: Job) -> RunRow:
        key = (job, fingerprint(self._jobs.folders.run(job)))
        with self._lock:
            known = self._settled.get(key)
        if known is not None:
            return known
        made = _row_of(self._jobs, job)
        if made.settled:
            with self._lock:
                self._settled[key] = made
                _trim(self._settled)
        return made


def _trim(kept: OrderedDict[Any, Any]) -> None:
    while len(kept) > _KEPT:
        kept.popitem(last=False)


def _row_of(jobs: Jobs, job: Job) -> RunRow:
    view, run = jobs.view_of(job), jobs.folders.run(job)
    report = readable_in(run.audit_of(None))
    found = () if report is None else statements_of(report, base_beside(run, report))
    verdict = tuple((one.short, one.tone) for one in found)
    state, mark = _state(view)
    settled = job.current is None and view.training.state in _SETTLED
    picture, place = newest_sample(run, _SIDE), place_of(view)
    return RunRow(job.id, job.title, job.created, state, mark, verdict, place, picture, settled)


def _state(view: JobView) -> tuple[str, str]:
    """The state of what goes on, or else of the training, and its mark."""
    for side, name in ((view.auditing, "Audit"), (view.publishing, "Publishing")):
        if side.state in _BUSY:
            return f"{name}: {TITLES[side.state].lower()}", "running"
    state, figures = view.training.state, view.figures
    words = TRAINING_TITLES[state]
    if state == "running" and figures.step and figures.total_steps:
        words += f", {int(100 * min(1.0, figures.step / figures.total_steps))} %"
    published = view.publishing.on_hub
    if state == "done" and published is not None:
        return PUBLICATION_TITLES[published], STATE_MARKS[published]
    return words, STATE_MARKS.get(state, "")


def rows_view(rows: Sequence[RunRow], chosen: str | None) -> str:
    """Show the rows.

    Args:
        rows: newest first.
        chosen: id of the run that is shown below them.
    """
    if not rows:
        return ""
    now = time.time()
    listed = [
        {
            "row": row,
            "age": age(now - row.created),
            "picture": row.picture if n < PICTURED else None,
        }
        for n, row in enumerate(rows)
    ]
    return render("rows", listed=listed, chosen=chosen)
