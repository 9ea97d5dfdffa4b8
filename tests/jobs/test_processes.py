"""Stopping, killing, crashing and restarting, with real processes."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from memshield.errors import UserError
from memshield.jobs import processes
from memshield.jobs.commands import ROOT
from memshield.jobs.limits import JobLimits
from memshield.jobs.processes import ServerProcess
from memshield.jobs.records import Job
from memshield.jobs.service import Jobs
from tests.jobs.children import (
    DONE,
    RUNS,
    SLEEPS,
    STOPS,
    STUBBORN,
    begun,
    ended,
    local,
    open_jobs,
    ready,
    task_of,
    until,
    view,
)


@pytest.mark.process
def test_a_stopped_job_has_saved_and_can_be_resumed(root: Path) -> None:
    jobs = open_jobs(root, STOPS)
    job = local(jobs)
    until(lambda: ready(jobs, job), jobs=jobs)
    shown = view(jobs, job)
    assert shown.training.words == "Training, step 3 of 10"
    assert (shown.figures.loss, shown.figures.kept, shown.figures.eta_s) == (0.5, 0.9, 7.0)
    assert shown.actions == ("stop",)
    jobs.stop("", job.id)
    assert view(jobs, job).training.state == "stopping"
    assert view(jobs, job).actions == ()
    until(lambda: ended(jobs, job), jobs=jobs)
    shown = view(jobs, job)
    assert (shown.training.state, shown.training.reason) == ("stopped", "SIGTERM received")
    assert shown.training.last_lines == ()
    assert shown.actions == ("resume", "delete")
    assert task_of(jobs, job).exit_code == 143
    jobs.resume("", job.id)
    jobs.scheduler.step()
    until(lambda: view(jobs, job).training.state == "running", jobs=jobs)
    assert len(jobs.get("", job.id).tasks) == 2
    jobs.close()


@pytest.mark.process
def test_who_does_not_stop_is_ended_after_the_grace(root: Path) -> None:
    now = time.time()
    jobs = open_jobs(root, STUBBORN, limits=JobLimits(grace=60), now=lambda: now)
    job = local(jobs)
    until(lambda: ready(jobs, job), jobs=jobs)
    jobs.stop("", job.id)
    for _ in range(5):
        jobs.scheduler.step()
        time.sleep(0.02)
    assert not ended(jobs, job)
    now += 61
    until(lambda: ended(jobs, job), jobs=jobs)
    shown = view(jobs, job)
    assert shown.training.state == "stopped"
    assert "had to be killed" in str(shown.training.reason)
    jobs.close()


@pytest.mark.process
def test_a_killed_training_is_seen_within_seconds(root: Path) -> None:
    jobs = open_jobs(root, SLEEPS)
    jobs.scheduler.run()
    job = local(jobs)
    until(lambda: begun(jobs, job))
    killed = time.monotonic()
    pid = int(task_of(jobs, job).pid or 0)
    os.kill(pid, signal.SIGKILL)
    until(lambda: view(jobs, job).training.state == "died")
    assert time.monotonic() - killed < 3
    shown = view(jobs, job)
    assert shown.training.words == "Died, can be resumed"
    assert str(shown.training.reason).startswith("Its process was killed: by a restart")
    assert "Nothing was saved yet: it starts anew" in str(shown.training.reason)
    assert shown.training.last_lines == ("begun",)
    assert "resume" in shown.actions
    assert not psutil.pid_exists(pid)  # not even as a zombie
    jobs.close()


@pytest.mark.process
def test_a_crash_shows_its_last_lines_and_what_to_do(root: Path) -> None:
    program = RUNS.format(body="status.set('failed', 'KeyError: 7', 'crash'); raise KeyError(7)")
    jobs = open_jobs(root, program)
    job = local(jobs)
    until(lambda: ended(jobs, job), jobs=jobs)
    shown = view(jobs, job)
    assert (shown.training.state, shown.error) == ("failed", "crash")
    assert shown.training.last_lines[-1] == "KeyError: 7"
    assert "KeyError: 7\nThis error is unexpected" in str(shown.training.reason)
    assert "Nothing was saved yet" in str(shown.training.reason)
    jobs.close()


@pytest.mark.process
def test_a_start_that_leaves_no_run_is_explained_by_its_output(root: Path) -> None:
    jobs = open_jobs(root, "import sys; sys.exit('learning_rate: too warm today')")
    job = local(jobs)
    until(lambda: ended(jobs, job), jobs=jobs)
    shown = view(jobs, job)
    assert shown.training.state == "failed"
    assert shown.training.last_lines == ("learning_rate: too warm today",)
    jobs.close()


@pytest.mark.process
@pytest.mark.parametrize("earlier", ["failed", "stopped"])
def test_a_refused_resumption_is_told_beside_the_state_before_it(root: Path, earlier: str) -> None:
    body = f"""
from memshield.errors import UserError
from memshield.jobs import endings
with endings.noted() as ending:
    status.set("{earlier}", "the reason before", "rank_lost", refused=attempt > 1)
    if attempt > 1:
        ending.refuse(UserError("lr_scheduler", "it was constant"))
"""
    jobs = open_jobs(root, RUNS.format(body=body))
    job = local(jobs)
    until(lambda: ended(jobs, job), jobs=jobs)
    before = view(jobs, job).training
    assert (before.state, before.refused) == (earlier, False)
    assert "the reason before" in str(before.reason)
    jobs.resume("", job.id)
    until(lambda: len(jobs.get("", job.id).tasks) == 2 and ended(jobs, job), jobs=jobs)
    shown = view(jobs, job).training
    assert (shown.state, shown.refused) == (earlier, True)
    assert (shown.reason, shown.last_lines) == ("lr scheduler: it was constant", ())
    jobs.close()


@pytest.mark.process
def test_out_of_memory_is_answered_with_settings(root: Path) -> None:
    words = "the GPU is out of memory; ...\\n  1. gradient_checkpointing: true"
    jobs = open_jobs(root, RUNS.format(body=f"status.set('failed', '{words}', 'out_of_memory')"))
    job = local(jobs)
    until(lambda: ended(jobs, job), jobs=jobs)
    shown = view(jobs, job)
    assert shown.error == "out_of_memory"
    assert "gradient_checkpointing: true" in str(shown.training.reason)
    # As another run.
    other = jobs.submit_changed("", job.id, {"learning_rate": 0.5, "output_dir": "/elsewhere"})
    assert other.id != job.id
    assert other.name == job.name
    config = jobs.config("", other.id)
    assert (config.learning_rate, config.gradient_checkpointing) == (0.5, False)
    assert config.output_dir == str(jobs.folders.run(other).path)
    for ask in (jobs.resume, jobs.submit_changed):
        with pytest.raises(UserError, match="epochs_of_training"):
            ask("", job.id, {"epochs_of_training": 3})
        with pytest.raises(UserError, match="there is no job"):
            ask("ada", job.id, {"gradient_checkpointing": True})
    # Or in the same one.
    jobs.resume("", job.id, {"gradient_checkpointing": True})
    assert jobs.config("", job.id).gradient_checkpointing
    assert jobs.config("", job.id).output_dir == str(jobs.folders.run(job).path)
    jobs.close()


@pytest.mark.process
def test_a_command_that_cannot_be_started(root: Path) -> None:
    jobs = open_jobs(root)
    job = local(jobs)
    (jobs.folders.log(job.id, job.tasks[0].number)).mkdir()
    jobs.scheduler.step()
    shown = view(jobs, job)
    assert shown.training.state == "failed"
    assert "It cannot be started" in str(shown.training.reason)
    jobs.close()


@pytest.mark.process
def test_a_training_without_its_launcher_is_still_running(root: Path) -> None:
    program = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {STOPS!r}, sys.argv[1]])"
    )
    jobs = open_jobs(root, program)
    job = local(jobs)
    until(lambda: ready(jobs, job), jobs=jobs)
    os.kill(int(task_of(jobs, job).pid or 0), signal.SIGKILL)
    time.sleep(0.1)
    jobs.scheduler.step()
    assert not ended(jobs, job)
    assert view(jobs, job).training.state == "running"
    jobs.stop("", job.id)
    until(lambda: ended(jobs, job), jobs=jobs)
    assert view(jobs, job).training.state == "stopped"
    jobs.close()


@pytest.mark.process
def test_ranks_in_sessions_of_their_own_are_ended_too(root: Path) -> None:
    program = (
        "import subprocess, sys; subprocess.Popen([sys.executable, '-c', "
        f"{STUBBORN!r}, sys.argv[1]], start_new_session=True).wait()"
    )
    now = time.time()
    jobs = open_jobs(root, program, now=lambda: now)
    job = local(jobs)
    until(lambda: ready(jobs, job), jobs=jobs)
    jobs.stop("", job.id)
    jobs.scheduler.step()
    now += 1000
    until(lambda: ended(jobs, job), jobs=jobs)
    assert not processes.marked(task_of(jobs, job).mark)
    jobs.close()


# Restarts


SERVER = """
import sys, time
from pathlib import Path
from tests.jobs import children
jobs = children.open_jobs(Path(sys.argv[1]), getattr(children, sys.argv[2]))
jobs.scheduler.run()
print(children.local(jobs).id, flush=True)
time.sleep(600)
"""


@pytest.fixture
def killed_server(root: Path) -> Iterator[tuple[Jobs, Job]]:
    """A job that runs, and whose server was ended by SIGKILL."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(root), "STOPS"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    id = server.stdout.readline().strip()
    jobs = open_jobs(root)
    job = jobs.get("", id)
    until(lambda: ready(jobs, job) and task_of(jobs, job).pid)
    server.kill()
    server.communicate()
    yield jobs, job
    jobs.close()


@pytest.mark.process
def test_a_training_outlives_its_server_and_is_found_again(
    killed_server: tuple[Jobs, Job],
) -> None:
    jobs, job = killed_server
    assert view(jobs, job).training.state == "running"
    waiting = local(jobs)
    for _ in range(3):
        jobs.scheduler.step()
    assert view(jobs, job).training.state == "running"
    assert jobs.position(waiting) == 1  # the device is taken
    jobs.stop("", job.id)
    until(lambda: ended(jobs, job), jobs=jobs)
    assert view(jobs, job).training.state == "stopped"
    until(lambda: ended(jobs, waiting), jobs=jobs)


@pytest.mark.process
def test_what_died_without_a_server_is_seen_by_the_next(killed_server: tuple[Jobs, Job]) -> None:
    jobs, job = killed_server
    os.kill(int(task_of(jobs, job).pid or 0), signal.SIGKILL)
    until(lambda: not processes.marked(task_of(jobs, job).mark))
    jobs.scheduler.step()
    assert view(jobs, job).training.state == "died"
    jobs.resume("", job.id)


@pytest.mark.process
def test_a_server_that_closes_leaves_its_jobs_to_the_next(root: Path) -> None:
    first = open_jobs(root, SLEEPS)
    job = local(first)
    until(lambda: begun(first, job), jobs=first)
    first.close()
    second = open_jobs(root)
    second.scheduler.step()
    assert view(second, job).training.state == "running"
    second.stop("", job.id)
    until(lambda: ended(second, job), jobs=second)
    second.close()


def change(root: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(root / "jobs.sqlite3") as db:
        db.execute(statement, values)
    db.close()


@pytest.mark.process
def test_a_reused_pid_is_not_believed(root: Path) -> None:
    jobs = open_jobs(root)
    job = local(jobs)
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    change(
        root,
        "UPDATE tasks SET state = 'running', device = 'cpu', pid = ?, start_time = ?, started = 1",
        stranger.pid,
        psutil.Process(stranger.pid).create_time() - 1000,
    )
    jobs.stop("", job.id)
    jobs.scheduler.step()
    assert ended(jobs, job)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()
    jobs.close()


def gone() -> str:
    """A server that is no more."""
    return str(ServerProcess.here()._replace(start_time=1.0))


@pytest.mark.process
def test_a_task_that_was_taken_and_never_started_goes_back(root: Path) -> None:
    jobs = open_jobs(root)
    job = local(jobs)
    change(root, "UPDATE tasks SET state = 'running', device = 'cpu', server = ?", gone())
    until(lambda: ended(jobs, job), jobs=jobs)
    assert (root / "ran.txt").read_text().split()[0] == job.id
    jobs.close()


@pytest.mark.process
def test_a_task_that_may_have_run_is_not_run_again(root: Path) -> None:
    jobs = open_jobs(root)
    job = local(jobs)
    change(root, "UPDATE tasks SET state = 'running', device = 'cpu', server = ?, started = 1",
           gone())  # fmt: skip
    jobs.folders.log(job.id, 1).touch()
    jobs.scheduler.step()
    assert view(jobs, job).training.state == "died"
    assert not (root / "ran.txt").exists()
    jobs.close()


@pytest.mark.process
def test_a_task_whose_process_was_not_noted_is_found_by_its_mark(root: Path) -> None:
    jobs = open_jobs(root, SLEEPS)
    job = local(jobs)
    until(lambda: begun(jobs, job), jobs=jobs)
    pid = task_of(jobs, job).pid
    jobs.close()
    change(root, "UPDATE tasks SET pid = NULL, start_time = NULL, server = ?", gone())
    jobs = open_jobs(root)
    jobs.scheduler.step()
    assert task_of(jobs, job).pid == pid
    jobs.close()


@pytest.mark.process
def test_a_run_that_a_person_started_is_left_alone(root: Path) -> None:
    jobs = open_jobs(root, DONE)
    job = local(jobs)
    jobs.stop("", job.id)
    folder = jobs.folders.run(job).path
    typed = subprocess.Popen(
        [sys.executable, "-c", SLEEPS, str(jobs.folders.settings(job.id))], cwd=ROOT
    )
    until(lambda: (folder / "status.json").exists())
    until(lambda: view(jobs, job).training.state == "running")
    assert view(jobs, job).training.words == "Training, started elsewhere"
    assert view(jobs, job).actions == ()
    for ask in (jobs.resume, jobs.delete):
        with pytest.raises(ValueError, match="started elsewhere"):
            ask("", job.id)
    typed.kill()
    typed.wait()
    assert view(jobs, job).training.state == "died"
    jobs.resume("", job.id)
    jobs.close()


def test_servers_are_told_apart() -> None:
    one, other = ServerProcess.here(), ServerProcess.here()
    assert str(one) != str(other)
    assert ServerProcess.parse(str(one)) == one
    assert one.is_running()
    assert not one._replace(start_time=5.0).is_running()
