"""The runs of a folder, as the terminal lists them."""

from __future__ import annotations

from pathlib import Path

from memshield.jobs.terminal.runs import _local
from memshield.rundir import RunDir, StatusFile


def test_what_is_no_run_hides_none(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "mine")
    run.path.mkdir()
    status = StatusFile(run, 1)
    status.set("done", step=3, total_steps=3)
    status.close()
    (tmp_path / "picture.png").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "status.json").touch()
    assert _local(tmp_path) == [(str(run.path), "done", "3 of 3")]
    assert _local(tmp_path / "none") == []
