"""Submitting trainings from tests, real ones and small programs in their place."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memshield.__main__ import main
from memshield.jobs.remote import submission
from memshield.jobs.remote.live import Live
from memshield.jobs.remote.submission import RunTask
from tests.hub_server import HubServer
from tests.hub_server.jobs.job import Job
from tests.trained_runs import flags

TOKEN = "hf_adasTokenThatNobodyMaySee0123456789"
STARTED = re.compile(r"^started +(\S+): ", re.MULTILINE)

PRETENDS = """
import os, signal, sys, time
from pathlib import Path
from memshield.rundir import EventLog, RunDir, StatusFile
run = RunDir(sys.argv[1])
attempt = run.read_status().get("attempt", 0) + 1
status, events = StatusFile(run, attempt), EventLog(run, attempt)
def stop(number, frame):
    run.checkpoint(3).mkdir(exist_ok=True)
    (run.checkpoint(3) / "weights").write_bytes(b"w" * 1000)
    status.set("stopped", "SIGTERM received")
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
run.config.write_text(
    "model_config_name_or_path: configs/models/digits-unet.json\\n"
    "dataset_name: sklearn:digits\\nnum_rounds: 1\\nnum_shards: 1\\noutput_dir: run\\n"
)
status.set("running", total_steps=10, step=3)
events.write("step", step=3, round=1, shard=1, eta_s=7.0, loss=0.5, kept=0.9, lr=0.1)
print("begun", flush=True)
{body}
"""
WAITS = PRETENDS.format(body="time.sleep(600)")
ENDS = PRETENDS.format(body="run.model.mkdir(exist_ok=True); status.set('done')")

TRAINED = PRETENDS.format(
    body="for folder in (run.model, run.checkpoint(9)):\n"
    "    folder.mkdir(); (folder / 'weights').write_bytes(b'w' * 9)\n"
    "status.set('done')"
)
AUDITS = """
import sys
from pathlib import Path
run = Path(sys.argv[1])
assert (run / "model" / "weights").exists() and not (run / "checkpoint-9").exists()
(run / "audit" / "model").mkdir(parents=True)
(run / "audit" / "model" / "report.json").write_text("{}")
print("No copies", *sys.argv[2:])
print(run / "audit" / "model" / "report.html")
"""


def pretend(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Let jobs run a small program instead of a training."""
    monkeypatch.setattr(
        submission, "training_words", lambda record: ["python", "-c", program, "{run}"]
    )


def pretend_task(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Let tasks run a small program instead of their command."""
    monkeypatch.setattr(
        RunTask, "command", lambda task: ["python", "-c", program, "{run}", *task.words]
    )


def submit(capsys: pytest.CaptureFixture[str], folder: Path, *words: str, **changes: Any) -> str:
    """Submit the demo and follow it, or not with --detach; the run's id."""
    settings = {
        "model_config_name_or_path": "configs/models/digits-unet.json",
        "dataset_name": "sklearn:digits", "output_dir": folder / "mine", **changes,
    }  # fmt: skip
    hardware = [] if "--hardware" in words else ["--hardware", "cpu-basic"]
    code = main(["submit", *flags(**settings), *hardware, "--yes", *words])
    said = capsys.readouterr()
    assert code == 0, said.err
    found = STARTED.search(said.out)
    assert found is not None, said.out
    return found[1]


def job_of(hub: HubServer, id: str) -> Job:
    """The newest job of a run."""
    found = [job for job in hub.jobs.of("ada") if job.spec["labels"]["memshield-run"] == id]
    return found[0]


def live_of(hub: HubServer, id: str) -> Live | None:
    """What the container of a run wrote last."""
    bucket = hub.buckets.get("ada/memshield-runs")
    assert bucket is not None
    path = bucket.path(f"{id}/live.json")
    return Live.parse(path.read_bytes()) if path.exists() else None


def trains(hub: HubServer, id: str, step: int = 1) -> bool:
    """Whether a run has got so far, as its newest container tells."""
    live, job = live_of(hub, id), job_of(hub, id)
    if live is None or live.mark != job.spec["labels"]["memshield-task"]:
        assert job.stage == "RUNNING", (job.message, job.log)
        return False
    return live.ended is not None or live.status.get("step", 0) >= step


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)
    return found


def assert_nowhere(hub: HubServer, token: str = TOKEN) -> None:
    """A token was in Authorization headers alone, and is in no file of the bucket."""
    assert hub.requests
    for request in hub.requests:
        others = [value for name, value in request.headers.items() if name != "authorization"]
        assert token not in " ".join([request.path, *others])
    assert not any(token.encode() in body for body in hub.bodies)
    bucket = hub.buckets.get("ada/memshield-runs")
    assert bucket is not None
    assert not any(token.encode() in path.read_bytes() for path in bucket.files())
    for job in hub.jobs.of("ada"):
        assert token not in str((job.spec, job.log))
