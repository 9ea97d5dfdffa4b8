"""A training whose process is there and gives no sign of life."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.jobs.children import SLEEPS, Scripted, begun, local, open_jobs, until, view

pytestmark = pytest.mark.process


def test_a_training_that_hangs_is_told(root: Path) -> None:
    late = [0.0]
    jobs = open_jobs(root, commands=Scripted(SLEEPS), now=lambda: time.time() + late[0])
    job = local(jobs)
    until(lambda: begun(jobs, job), jobs=jobs)
    assert view(jobs, job).training.words == "Training"
    late[0] = 100.0  # a busy machine
    assert view(jobs, job).training.words == "Training"
    late[0] = 400.0
    shown = view(jobs, job).training
    assert shown.state == "running"
    assert "no sign of life for 7 minutes" in shown.words
    assert "stop it" in str(shown.reason)
    jobs.close()
