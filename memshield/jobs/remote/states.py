"""The state of a training on Jobs, from what the Hub says and what its container wrote."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from memshield.jobs.remote.client import RemoteJob
from memshield.jobs.remote.container import NO_ROOM
from memshield.jobs.remote.live import Live
from memshield.quantities import duration
from memshield.rundir import reason_for_page

RemoteStateName = Literal[
    "waiting",  # for hardware
    "starting",
    "preparing",
    "running",
    "silent",  # runs, and writes nothing
    "stopped",
    "failed",
    "done",
    "no_image",
    "timed_out",
    "cancelled",
    "killed",
    "bucket_full",
    "deleted",
    "lost",  # ended without a word
]

ORPHAN_SECONDS = 900.0
"""A job that writes nothing for so long is billed for nothing, as far as can be told."""
_SILENT_SECONDS = 120.0
_LONG_WAIT = 300.0
_RESUME = "Resume goes on from the last checkpoint."
_AGAIN = "Start it again."
_TASKS = {
    "audit": ("Auditing", "Audited"),
    "compare": ("Auditing every round", "Audited every round"),
    "sample": ("Drawing", "Drawn"),
}
"""Words for tasks on a run, while they run and afterwards."""


@dataclass(frozen=True)
class RemoteState:
    """The state of a run on Jobs.

    Attributes:
        name: for programs.
        words: for people.
        remedy: what to do; "" where nothing needs to be done.
        orphan: whether it is billed and nothing comes of it, as far as can be told.
        on_page: the words for a page, where they differ.
    """

    name: RemoteStateName
    words: str
    remedy: str = ""
    orphan: bool = False
    on_page: str = ""

    @property
    def words_on_page(self) -> str:
        """For people who have no terminal and no config file before them."""
        return self.on_page or self.words


GONE = RemoteState(
    "silent", "It is billed, and its folder in the bucket is gone", "Stop it.", orphan=True
)


def state_of(job: RemoteJob | None, live: Live | None, now: float) -> RemoteState:
    """The state of a run.

    Args:
        job: its newest; None where that was deleted.
        live: what its container wrote last.
        now: seconds since the epoch.
    """
    if job is None or job.stage == "DELETED":
        return RemoteState(
            "deleted",
            "Its job was deleted on the Hub; what it had written by then is kept",
            _RESUME,
        )
    mine = live if live is not None and live.mark == job.mark else None
    if job.stage == "SCHEDULING":
        return _waiting(job, now)
    if job.stage == "RUNNING":
        return _running(job, mine, now)
    if job.kind == "train" and live is not None and live.status.get("state") == "done":
        mine = live  # a task on the run wrote last, and what is done is not begun anew
    return _ended(job, mine)


def _waiting(job: RemoteJob, now: float) -> RemoteState:
    waited = now - job.created
    if waited < _LONG_WAIT:
        return RemoteState("waiting", f"Waiting for {job.hardware}")
    return RemoteState(
        "waiting",
        f"No {job.hardware} is free; it waits for {duration(waited, True)}, which costs nothing",
        "Stop it and submit it with other hardware, or wait.",
    )


def _running(job: RemoteJob, mine: Live | None, now: float) -> RemoteState:
    begun = job.started or job.created
    silence = now - (mine.time if mine is not None else begun)
    orphan = silence > ORPHAN_SECONDS
    if mine is None:
        if not orphan:
            return RemoteState("starting", "Starting: the image and the packages are fetched")
        return RemoteState(
            "silent",
            f"It has run for {duration(silence, True)}, is billed, and has written nothing",
            "Its output on the Hub may say why. Stop it.",
            orphan=True,
        )
    if silence > _SILENT_SECONDS:
        return RemoteState(
            "silent",
            f"It is billed, and has written nothing for {duration(silence, True)}",
            "If it does not go on, stop it: what is in the bucket is whole.",
            orphan,
        )
    if job.kind != "train":
        return RemoteState("running", _words_of(job)[0])
    if mine.status.get("state") == "preparing" or not mine.status:
        return RemoteState("preparing", "Preparing: model and pictures are fetched and checked")
    return RemoteState("running", "Training" if mine.ended is None else "Copying its last files")


def _words_of(job: RemoteJob) -> tuple[str, str]:
    return _TASKS.get(job.kind, ("Working", "Done"))


def _ended(job: RemoteJob, mine: Live | None) -> RemoteState:
    if job.kind != "train":
        return _task_ended(job, mine)
    status = {} if mine is None else mine.status
    written, reason = status.get("state"), str(status.get("reason") or "")
    if written == "done":
        return RemoteState("done", "Done", reason)
    if written == "stopped":
        return RemoteState("stopped", f"Stopped: {reason}" if reason else "Stopped", _RESUME)
    if written == "failed":
        return RemoteState(
            "failed", f"Failed: {reason}", on_page=f"Failed: {reason_for_page(status) or ''}"
        )
    if job.stage == "COMPLETED" and mine is not None and mine.ended is not None:
        return RemoteState("stopped", "Stopped before there was anything to save", _RESUME)
    return _ended_from_outside(job, mine)


def _task_ended(job: RemoteJob, mine: Live | None) -> RemoteState:
    code = None if mine is None else mine.ended
    doing, did = _words_of(job)
    if code == 0:
        return RemoteState("done", did)
    if code is not None and job.stage == "COMPLETED":
        return RemoteState("stopped", f"{doing} was stopped", _AGAIN)
    if code is not None and code > 0:
        return RemoteState("failed", f"{doing} failed", "Its last lines say why.")
    if code is not None:
        why = "by its time limit, or for want of memory"
        return RemoteState("killed", f"{doing} was ended {why}", _AGAIN)
    return replace(_ended_from_outside(job, mine), remedy=_AGAIN)


def _ended_from_outside(job: RemoteJob, mine: Live | None) -> RemoteState:
    if job.stage == "CANCELED":
        return RemoteState("cancelled", "Cancelled on the Hub before it had saved", _RESUME)
    message = " ".join(job.message.split())
    if f"exit code: {NO_ROOM}" in message:
        return RemoteState(
            "bucket_full",
            "The bucket took no more files: everything after its last checkpoint there is lost",
            f"Make room in your storage on the Hub. {_RESUME}",
        )
    if "timeout" in message.lower() or "timed out" in message.lower():
        return RemoteState(
            "timed_out", "The time limit ended it before it had saved", f"{_RESUME} Give it longer."
        )
    if job.started is None:
        return RemoteState(
            "no_image", f"It could not be started: {message or 'the Hub does not say why'}",
            "Check the image and the hardware; nothing was trained.",
        )  # fmt: skip
    if job.stage == "ERROR" and mine is None:
        return RemoteState(
            "failed", f"It ended before it trained: {message or 'the Hub does not say why'}",
            "Its last lines say more.",
        )  # fmt: skip
    if job.stage == "ERROR":
        return RemoteState(
            "killed",
            f"Its container was ended from outside: {message or 'the Hub does not say why'}",
            f"The machine was taken away, or out of memory. {_RESUME}",
        )
    return RemoteState("lost", "It ended, and what it wrote did not arrive", _RESUME)
