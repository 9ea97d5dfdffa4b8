"""A job as data for the page and the API: its states, their reasons, and the actions it allows."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from memshield.jobs.commands import as_typed
from memshield.jobs.folders import Folders
from memshield.jobs.liveness import is_of, runs_elsewhere, silence_of
from memshield.jobs.records import Job, Task
from memshield.jobs.task_progress import JobRecord, TaskProgress, of_task
from memshield.jobs.told import Told, told_of
from memshield.jobs.words import (
    PUBLICATION_STEPS,
    PUBLICATION_TITLES,
    TITLES,
    TRAINING_TITLES,
    TRAINING_WORDS,
    State,
    advice,
    publication_title,
    what_is_kept,
)
from memshield.rundir import RunDir, is_alive, reason_for_page
from memshield.runs.progress import read_figures
from memshield.runs.publication import OnHub, on_hub, published_in, read_publication
from memshield.runs.state import Figures

Action = Literal["stop", "resume", "fetch", "audit", "publish", "delete"]


@dataclass(frozen=True)
class Publishing(TaskProgress):
    """The state of a publication.

    Attributes:
        step: the current one.
        repo_id, url: of the repository, None until they are known.
        outdated: whether the run's model became another one since.
        on_hub: whether the Hub has a model of the run, this one or an earlier one; it has where a
            later attempt failed, too. None where it has none.
    """

    step: str | None = None
    repo_id: str | None = None
    url: str | None = None
    outdated: bool = False
    on_hub: OnHub | None = None


@dataclass(frozen=True)
class JobView:
    """A job as its owner sees it.

    Attributes:
        id, name, created, title: of the job.
        position: in the queue, from 1; None where it does not wait.
        training, auditing, publishing: the state of each.
        figures: of the training.
        error: kind of a training's failure; see `memshield.training.failures`.
        actions: those that the job allows now.
        files: names inside the run directory.
        command: of its newest task, to copy.
        elsewhere: what another place tells of it; None for a run of this machine.
    """

    id: str
    name: str
    created: float
    position: int | None
    training: TaskProgress
    auditing: TaskProgress
    publishing: Publishing
    figures: Figures = field(default_factory=Figures)
    error: str | None = None
    actions: tuple[Action, ...] = ()
    files: tuple[str, ...] = ()
    command: str = ""
    title: str = ""
    elsewhere: Told | None = None

    def without_tokens(self, hide: Callable[[str], str]) -> JobView:
        """The same, with everything that a process printed put through `hide`."""
        return replace(
            self,
            training=self.training.without_tokens(hide),
            auditing=self.auditing.without_tokens(hide),
            publishing=self.publishing.without_tokens(hide),
        )


def view_of(
    job: Job, folders: Folders, position: int | None, may_start: bool, now: float
) -> JobView:
    """The view of a job and its run directory.

    Args:
        job: from the store.
        folders: where it lies.
        position: of its task in the queue.
        may_start: whether that task could be started, as far as tokens are concerned.
        now: seconds since the epoch.
    """
    run = folders.run(job)
    status = run.read_status()
    place = JobRecord(job, folders, position, may_start, _told(job, folders, may_start))
    figures = read_figures(run, status)
    training = _training(place, run, status, figures, now)
    command = job.tasks[-1].work.command
    return JobView(
        job.id,
        job.name,
        job.created,
        position,
        training,
        _auditing(place),
        _publishing(place, run),
        figures,
        status.get("error") if training.state == "failed" else None,
        _actions(job, run, training.state),
        folders.files(job),
        as_typed(command),
        job.title,
        place.told,
    )


def _told(job: Job, folders: Folders, may_start: bool) -> Told | None:
    tasks = [task for task in job.tasks if task.work.place is not None]
    told = told_of(folders.told(job.id, task.number) for task in tasks)
    if told is not None and tasks[-1].state == "running" and not may_start:
        told = replace(
            told, words="It goes on there", remedy="Sign in for Jobs to see how far it is."
        )
    return told


def request_progress(
    job: Job, folders: Folders, position: int | None, may_start: bool, what: str = "It"
) -> TaskProgress:
    """The state of what stands alone.

    Args:
        job, folders, position, may_start: as of `view_of`.
        what: to call it, at the beginning of a sentence.
    """
    return of_task(JobRecord(job, folders, position, may_start), job.tasks[-1], what)


def _training(
    place: JobRecord, run: RunDir, status: dict[str, Any], figures: Figures, now: float
) -> TaskProgress:
    task = place.job.last("train")
    assert task is not None  # a job begins with its training
    ours = is_of(task, status.get("processes", []))
    if task.state == "queued":
        return place.waiting()
    if task.state == "running":
        if task.stop_asked is not None:
            return TaskProgress("stopping", "Stopping: the checkpoint is being saved")
        if not ours:
            return TaskProgress("preparing", "Starting")
    elif not ours and runs_elsewhere(status, now):
        return TaskProgress(
            "running", f"{TRAINING_TITLES['running']}, started elsewhere{_step(figures)}"
        )
    elif not ours:
        return _not_begun(place, task, run, status, figures)
    if task.state == "ended" and status["state"] in ("preparing", "running"):
        return _cut_off(place, task, run)
    progress = _written(place, run, status, figures)
    # What is not heard of a task in another place, the place itself says.
    here = task.state == "running" and place.told is None
    if here and progress.state in ("preparing", "running"):
        return _with_silence(progress, silence_of(status, now))
    if (
        task.state == "ended"
        and task.stop_asked is None
        and progress.state in ("failed", "stopped")
    ):
        # A start that was refused leaves the state before it. A failure of its own is reported as
        # such.
        again = len([one for one in place.job.tasks if one.work.kind == "train"]) > 1
        if again and status.get("refused"):
            why = place.ended(task, "The last start")
            return TaskProgress(
                progress.state, progress.words, why.reason, why.last_lines, refused=True
            )
        return replace(progress, last_lines=place.lines(task))
    return progress


def _with_silence(progress: TaskProgress, silence: float | None) -> TaskProgress:
    """The same, with the time since the last heartbeat of a process that is still there."""
    if silence is None:
        return progress
    return replace(
        progress,
        words=f"{progress.words}; no sign of life for {silence / 60:.0f} minutes",
        reason="Its process is there, but it writes nothing any more, not even that it lives. It "
        "hangs, it was put to sleep, or the disk is full. If it does not go on by itself, stop "
        "it: it is ended after a while, and Resume continues from the last checkpoint.",
    )


def _written(
    place: JobRecord, run: RunDir, status: dict[str, Any], figures: Figures
) -> TaskProgress:
    """The state that the training wrote."""
    state: State = status["state"]
    reason = reason_for_page(status)
    if state == "failed":
        next_step = advice(status["error"], place.checkpoint(run))
        reason = f"{reason}\n{next_step}" if reason else next_step
    step = _step(figures) if state in ("running", "stopped") else ""
    return TaskProgress(state, TRAINING_TITLES[state] + step, reason)


def _not_begun(
    place: JobRecord, task: Task, run: RunDir, status: dict[str, Any], figures: Figures
) -> TaskProgress:
    """A task that left no trace in the run directory, which may tell of an earlier one."""
    if not status:
        return place.ended(task, "The training")
    if status["state"] in ("preparing", "running"):
        earlier = _cut_off(place, task, run)
    else:
        earlier = _written(place, run, status, figures)
    if task.started is None or task.stop_asked is not None:
        return earlier
    why = place.ended(task, "The last start")
    return TaskProgress(earlier.state, earlier.words, why.reason, why.last_lines, refused=True)


def _cut_off(place: JobRecord, task: Task, run: RunDir) -> TaskProgress:
    """A training whose processes ended without writing a final state."""
    next_step = advice(None, place.checkpoint(run))
    if task.stop_asked is not None:
        return TaskProgress.titled("stopped", f"{what_is_kept('running', 0, None)} {next_step}")
    return TaskProgress(
        "died",
        "Died, can be resumed",
        f"{(task.problem or TRAINING_WORDS['died']).rstrip('.')}. {next_step}",
        place.lines(task),
    )


def _step(figures: Figures) -> str:
    if figures.step is None or figures.total_steps is None:
        return ""
    return f", step {figures.step:,} of {figures.total_steps:,}"


def _auditing(place: JobRecord) -> TaskProgress:
    task = place.job.last("audit")
    if task is None:
        return TaskProgress.titled("none")
    return of_task(place, task, "The audit")


def _publishing(place: JobRecord, run: RunDir) -> Publishing:
    record = read_publication(run)
    state = _publishing_state(place, record)
    where = {name: record.get(name) for name in ("step", "repo_id", "url")}
    outdated = record.get("outdated") is True
    return Publishing(**(vars(state) | where), outdated=outdated, on_hub=on_hub(record))


def _publishing_state(place: JobRecord, record: dict[str, Any]) -> TaskProgress:
    task = place.job.last("publish")
    current = place.job.current
    if task is not None and not (record and is_of(task, [record["process"]])):
        return of_task(place, task, "Publishing")
    if not record:
        return TaskProgress("none", PUBLICATION_TITLES["none"])
    before = str(record.get("repo_id")) in published_in(record)
    if record["state"] == "failed":
        return TaskProgress("failed", publication_title("failed", before), record["reason"])
    if record["state"] == "done":
        return TaskProgress(
            "done", PUBLICATION_TITLES["outdated" if record.get("outdated") else "done"]
        )
    writer = place.job.last("train", "publish")
    if _goes_on(record["process"], writer):
        if current is not None and current.stop_asked is not None:
            return TaskProgress.titled("stopping")
        words = PUBLICATION_STEPS.get(record["step"], TITLES["running"])
        return TaskProgress("running", words, record.get("waiting"))
    if writer is not None and writer.stop_asked is not None:
        title = publication_title("stopped", before)
        return TaskProgress("stopped", title, "Publishing again goes on.")
    reason = "Publishing was ended from outside. Publishing again goes on."
    return TaskProgress("died", PUBLICATION_TITLES["died"], reason)


def _goes_on(process: dict[str, Any], writer: Task | None) -> bool:
    """Whether a publication that says that it runs does so.

    Args:
        process: that wrote it.
        writer: the newest task that may have started it.
    """
    if process["host"] != socket.gethostname() and writer is not None and writer.state == "ended":
        # A server that was started anew has another name, and its task is known to be gone.
        return False
    return is_alive(process)


def lacks_files(job: Job, run: RunDir) -> bool:
    """Whether files of a training that was done elsewhere may be missing here."""
    task = job.last("train")
    if task is None or task.work.place is None:
        return False
    # A download that was given up has brought some; what never began has none.
    given_up = task.problem is not None and task.start_time is not None
    return given_up or not run.model.is_dir()


def _actions(job: Job, run: RunDir, training: State) -> tuple[Action, ...]:
    current = job.current
    if current is not None:
        asked = current.stop_asked is not None
        waits: tuple[Action, ...] = ("delete",) if current.state == "queued" else ()
        return waits if asked else ("stop", *waits)
    if training == "running":  # started elsewhere
        return ()
    found: list[Action] = []
    if training != "done":
        found.append("resume")
    elif lacks_files(job, run):
        found.append("fetch")
    if run.model.is_dir() or run.rounds.is_dir():
        found.append("audit")
    if run.model.is_dir():
        found.append("publish")
    return (*found, "delete")
