"""The pace of this machine, told by its earlier runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memshield.forecast.estimate import Estimate
from memshield.forecast.hardware import Machine
from memshield.jobs.pace import RunPace
from memshield.jobs.records import Job
from memshield.jobs.service import Jobs
from memshield.ui.form.choices import Choices
from memshield.ui.form.planning import forecast
from tests.jobs.children import open_jobs

MACHINE = Machine((), 2, 8 * 10**9)
ROWS = 1797


def here(jobs: Jobs, owner: str = "ada", **choices: Any) -> Estimate:
    pace = RunPace(jobs, owner, MACHINE)
    found = forecast(Choices(**choices), MACHINE, ROWS, pace=pace).here
    assert found is not None
    return found


def ran(jobs: Jobs, seconds: float, rounds: int | None = None, **status: Any) -> Job:
    """A demo of ada's that took so many seconds."""
    values = forecast(Choices(), MACHINE, ROWS).values
    job = jobs.submit("ada", values)
    task = jobs._store.claim(["cpu"], 1, "server", lambda owner, work: True, 1000.0)
    assert task is not None
    jobs._store.end(task, 0)
    run = jobs.folders.run(jobs.get("ada", job.id))
    run.path.mkdir(parents=True)
    pq.write_table(pa.table({"index": list(range(ROWS))}), run.examples)
    events = [{"type": "step", "time": 1001.0}, {"type": "done", "time": 1000.0 + seconds}]
    run.events.write_text("".join(json.dumps(one) + "\n" for one in events))
    for number in range(1, (rounds or values["num_rounds"]) + 1):
        (run.rounds / str(number)).mkdir(parents=True)
    state = {"v": 1, "state": "done", "attempt": 1, **status}
    (run.path / "status.json").write_text(json.dumps(state))
    return job


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return open_jobs(tmp_path / "data")


def test_the_newest_run_that_is_alike_tells_the_time(jobs: Jobs) -> None:
    assert not here(jobs).by_runs
    ran(jobs, 400.0)
    found = here(jobs)
    assert found.by_runs and found.basis == "measured on an earlier run"
    assert found.middle_s == pytest.approx(400, rel=0.01)
    assert found.seconds.high / found.seconds.low < 2
    half = here(jobs, epochs=15).middle_s
    assert 200 < half < 300  # half of the steps, and the same audits
    assert not here(jobs, "bob").by_runs


@pytest.mark.parametrize("status", [{"state": "stopped"}, {"attempt": 2}, {"state": "failed"}])
def test_a_run_that_was_interrupted_tells_nothing(jobs: Jobs, status: dict[str, Any]) -> None:
    ran(jobs, 400.0, **status)
    assert not here(jobs).by_runs


def test_a_run_that_its_budget_ended_early_tells_nothing(jobs: Jobs) -> None:
    ran(jobs, 400.0, rounds=2)
    assert not here(jobs).by_runs


def test_other_models_and_much_longer_runs_are_not_told(jobs: Jobs) -> None:
    ran(jobs, 400.0)
    assert not here(jobs, epochs=3000).by_runs
    folder = Path("pictures")
    assert not here(jobs, recipe="pixels_from_scratch", folder=folder).by_runs


def test_files_of_a_broken_run_do_no_harm(jobs: Jobs) -> None:
    run = jobs.folders.run(ran(jobs, 400.0))
    run.events.write_text('{"type": "step"}\nnot json')
    assert not here(jobs).by_runs
    run.examples.write_text("no table")
    assert not here(jobs).by_runs
