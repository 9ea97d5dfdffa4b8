"""What a run tells of its rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memshield.rundir import EventLog, RunDir, StatusFile
from memshield.training.progress import Progress
from tests.tiny import unet_config
from tests.trained_runs import digits, train


def ends_in(run: RunDir) -> list[dict[str, Any]]:
    return [event for event in run.read_events() if event["type"] == "round"]


def test_a_round_takes_the_time_from_its_first_step_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, now = RunDir(tmp_path), 100.0
    monkeypatch.setattr("memshield.training.progress.time.monotonic", lambda: now)
    progress = Progress(EventLog(run, 1), StatusFile(run, 1), 20, 0, 2, 1)
    for number in (1, 2):
        now += 50  # what was before it: the start, samples, an audit
        progress.round_begins()
        now += 7
        progress.round_ended(10 * number, number, 0.5, 0.9)
    progress.close()
    assert [end["seconds"] for end in ends_in(run)] == [7, 7]


def test_a_round_that_was_joined_midway_has_no_means_and_no_time(tmp_path: Path) -> None:
    settings = digits(tmp_path / "run", unet_config(tmp_path / "unet"))
    run = train(**settings)
    assert all(end["seconds"] > 0 and end["loss"] > 0 for end in ends_in(run))
    run.status.unlink()
    train(**settings, resume_from_checkpoint="checkpoint-12")  # of the steps 9 to 16
    joined, whole = ends_in(run)[3:]
    assert (joined["round"], whole["round"]) == (2, 3)
    assert [joined[name] for name in ("loss", "kept", "seconds")] == [None] * 3
    assert all(whole[name] is not None for name in ("loss", "kept", "seconds"))
