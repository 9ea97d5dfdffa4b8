"""Real trainings, launched as a person launches them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from memshield.errors import UserError
from memshield.jobs.records import LOCAL, Job
from memshield.jobs.service import Jobs
from memshield.runs.progress import read_progress
from memshield.ui.runs.progress import progress_view
from tests.jobs.children import ended, until, view
from tests.tiny import unet_config
from tests.trained_runs import digits, train, weights

pytestmark = pytest.mark.process


@pytest.fixture
def jobs(root: Path) -> Iterator[Jobs]:
    found = Jobs(root, ["cpu"], environment={**os.environ, "OMP_NUM_THREADS": "1"})
    found.scheduler.run()
    yield found
    found.close()


def submit(jobs: Jobs, tmp_path: Path, **changes: Any) -> Job:
    values = digits(tmp_path, unet_config(tmp_path / "unet"), **changes)
    del values["output_dir"]
    return jobs.submit(LOCAL, {**values, "model_config_name_or_path": str(tmp_path / "unet")})


def checkpoints(jobs: Jobs, job: Job) -> list[int]:
    assert not ended(jobs, job), jobs.log(LOCAL, job.id)
    return [step for step in jobs.folders.run(job).checkpoints() if step > 0]


@pytest.mark.slow
def test_a_killed_training_is_resumed_to_its_end(jobs: Jobs, tmp_path: Path) -> None:
    job = submit(jobs, tmp_path, max_train_steps=48)
    run = jobs.folders.run(job)
    until(lambda: checkpoints(jobs, job), 60)
    # Its own process, not the launcher's: what an out-of-memory killer would choose.
    os.kill(run.read_status()["processes"][0]["pid"], signal.SIGKILL)
    until(lambda: view(jobs, job).training.state == "died", 10)
    shown = view(jobs, job)
    assert f"Resume continues from step {run.checkpoints()[-1]}" in str(shown.training.reason)
    assert "resume" in shown.actions
    assert not [line for line in shown.training.last_lines if "accelerate/commands" in line]
    jobs.resume(LOCAL, job.id)
    until(lambda: view(jobs, job).training.state == "done" and ended(jobs, job), 60)
    shown = view(jobs, job)
    assert (shown.figures.step, shown.figures.total_steps) == (48, 48)
    assert shown.actions == ("audit", "publish", "delete")
    assert weights(run)
    assert "Going on from checkpoint-" in jobs.log(LOCAL, job.id)


@pytest.mark.slow
def test_a_refused_setting_is_shown_as_the_training_says_it(jobs: Jobs, tmp_path: Path) -> None:
    job = submit(jobs, tmp_path, image_column="nothing")
    until(lambda: ended(jobs, job), 60)
    shown = view(jobs, job)
    assert (shown.training.state, shown.error) == ("failed", "bad_input")
    assert str(shown.training.reason).startswith("image column: ")
    assert jobs.folders.run(job).read_status()["reason"].startswith("image_column: ")


@pytest.mark.slow
def test_a_stopped_training_is_resumed_to_the_same_model(jobs: Jobs, tmp_path: Path) -> None:
    settings = {"max_train_steps": 96, "checkpointing_steps": 10_000}
    whole = train(**digits(tmp_path / "whole", unet_config(tmp_path / "unet"), **settings))
    job = submit(jobs, tmp_path, **settings)
    until(lambda: (view(jobs, job).figures.step or 0) > 0, 60)
    jobs.stop(LOCAL, job.id)
    until(lambda: ended(jobs, job), 60)
    shown = view(jobs, job)
    assert (shown.training.state, shown.training.reason) == ("stopped", "SIGTERM received")
    assert jobs.folders.run(job).checkpoints()
    jobs.resume(LOCAL, job.id)
    until(lambda: ended(jobs, job), 60)
    found, reference = weights(jobs.folders.run(job)), weights(whole)
    assert all(found[name].equal(tensor) for name, tensor in reference.items())


@pytest.mark.slow
def test_a_resumption_that_is_refused_keeps_the_run(jobs: Jobs, tmp_path: Path) -> None:
    job = submit(jobs, tmp_path, max_train_steps=6000)
    until(lambda: checkpoints(jobs, job), 60)
    jobs.stop(LOCAL, job.id)
    until(lambda: ended(jobs, job), 60)
    assert not view(jobs, job).training.refused
    progress = read_progress(jobs.folders.run(job))
    assert "Everything is saved." in progress_view(progress, "stopped")
    file = jobs.folders.settings(job.id)
    before = file.read_text()
    with pytest.raises(UserError, match=r"learning_rate.*0\.001 in what has been trained"):
        jobs.resume(LOCAL, job.id, {"learning_rate": 0.5, "checkpoints_total_limit": 3})
    assert file.read_text() == before
    assert not jobs.get(LOCAL, job.id).current
    # The training says it where it was asked for by other means.
    file.write_text(before.replace("learning_rate: 0.001", "learning_rate: 0.5"))
    jobs.resume(LOCAL, job.id)
    until(lambda: ended(jobs, job), 60)
    shown = view(jobs, job)
    assert shown.training.state == "stopped"
    assert shown.training.refused
    assert "learning_rate: 0.5, there 0.001" in str(shown.training.reason)
    assert shown.training.last_lines == ()
    jobs.resume(LOCAL, job.id, {"learning_rate": 1e-3, "gradient_checkpointing": True})
    until(lambda: view(jobs, job).training.state == "running", 60)
    assert jobs.config(LOCAL, job.id).gradient_checkpointing


@pytest.mark.slow
def test_an_audit_and_its_report(jobs: Jobs, tmp_path: Path) -> None:
    job = submit(jobs, tmp_path, max_train_samples=200, held_out_fraction=0.4)
    until(lambda: ended(jobs, job), 60)
    jobs.audit(LOCAL, job.id, num_images=20)
    until(lambda: ended(jobs, job), 120)
    shown = view(jobs, job)
    assert shown.auditing.state == "done", jobs.log(LOCAL, job.id)
    assert "audit/model/report.json" in shown.files
