"""Small real programs in place of trainings, and waiting for what they do."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memshield.jobs.commands import Commands
from memshield.jobs.records import LOCAL, Job, Task
from memshield.jobs.service import Jobs
from memshield.jobs.view import JobView

DEMO: dict[str, Any] = {
    "model_config_name_or_path": "configs/models/digits-unet.json",
    "dataset_name": "sklearn:digits",
}

NOTES_ITSELF = """
import os, sys
folder = os.path.dirname(sys.argv[1])
with open(folder + "/../../ran.txt", "a") as file:
    file.write(f"{os.path.basename(folder)} {os.environ['CUDA_VISIBLE_DEVICES']}\\n")
"""

RUNS = """
import os, sys, time, yaml
from memshield.rundir import EventLog, RunDir, StatusFile

with open(sys.argv[1]) as file:
    run = RunDir(yaml.safe_load(file)["output_dir"])
run.path.mkdir(exist_ok=True)
run.config.write_text(open(sys.argv[1]).read())
attempt = run.read_status().get("attempt", 0) + 1
status, events = StatusFile(run, attempt), EventLog(run, attempt)
print("begun", flush=True)
status.set("running", total_steps=10)
{body}
"""

SLEEPS = RUNS.format(body="time.sleep(600)")
DONE = RUNS.format(body="run.model.mkdir(exist_ok=True); status.set('done')")
STOPS = RUNS.format(
    body="""
import signal
def stop(number, frame):
    status.set("stopped", "SIGTERM received")
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
events.write("step", step=3, round=1, shard=2, eta_s=7.0, loss=0.5, kept=0.9, lr=0.1)
(run.path / "ready").touch()
time.sleep(600)
"""
)
STUBBORN = RUNS.format(
    body="""
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
(run.path / "ready").touch()
time.sleep(600)
"""
)


class Scripted(Commands):
    """Runs a Python program for every task; its words follow as arguments."""

    def __init__(self, program: str, other: str = "") -> None:
        super().__init__(on_gpu=False)
        self._program = program
        self._other = other or program

    def train(self, settings: Path) -> list[str]:
        return [sys.executable, "-c", self._program, str(settings)]

    def on_run(self, *words: Any) -> list[str]:
        return [sys.executable, "-c", self._other, *super().on_run(*words)[4:]]

    def publish(self, *words: Any) -> list[str]:
        return [sys.executable, "-c", self._other, *super().publish(*words)[4:]]


def open_jobs(root: Path, program: str = NOTES_ITSELF, **options: Any) -> Jobs:
    """A server of scripted jobs that does nothing until it steps."""
    options = {"devices": ["cpu"], "commands": Scripted(program), **options}
    return Jobs(root, **options)


def until(condition: Callable[[], Any], seconds: float = 30, jobs: Jobs | None = None) -> Any:
    """Wait for something to be true, letting a server without a thread step; what it was."""
    deadline = time.monotonic() + seconds
    while True:
        if jobs is not None:
            jobs.scheduler.step()
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def task_of(jobs: Jobs, job: Job) -> Task:
    """The newest task of a job as it is now."""
    return jobs.get(job.owner, job.id).tasks[-1]


def view(jobs: Jobs, job: Job) -> JobView:
    return jobs.view(job.owner, job.id)


def ended(jobs: Jobs, job: Job) -> bool:
    return task_of(jobs, job).state == "ended"


def begun(jobs: Jobs, job: Job) -> bool:
    """Whether its process is known and its run says that it runs."""
    state = jobs.folders.run(job).read_status().get("state")
    return task_of(jobs, job).pid is not None and state == "running"


def ready(jobs: Jobs, job: Job) -> bool:
    return (jobs.folders.run(job).path / "ready").exists()


def local(jobs: Jobs, **changes: Any) -> Job:
    return jobs.submit(LOCAL, {**DEMO, **changes})
