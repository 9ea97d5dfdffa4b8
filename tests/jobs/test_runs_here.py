"""The runs of a folder, as the terminal lists and follows them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from memshield.errors import UserError
from memshield.jobs.terminal.follow import main
from memshield.jobs.terminal.runs import _local
from memshield.jobs.terminal.runs import main as runs
from memshield.jobs.terminal.shared import confirm
from memshield.rundir import RunDir, StatusFile, this_process


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


def test_a_folder_that_holds_no_run_is_not_followed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="holds no run"):
        main([str(tmp_path)])
    assert runs(["--folder", str(tmp_path / "nowhere")]) == 0
    assert "nowhere is no folder" in capsys.readouterr().out


def test_an_end_of_input_is_a_no(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-D at the question."""
    theirs, ours = os.openpty()
    with open(ours, closefd=False) as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        os.write(theirs, b"\x04")
        assert not confirm("Start it?", yes=False)
        os.write(theirs, b"y\n")
        assert confirm("Start it?", yes=False)
    assert "Start it? [y/N] " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (None, "goes on from the last checkpoint"),
        ("seed: 1", "goes on from the last checkpoint"),
        ("resume_from_checkpoint: checkpoint-9", "goes back to checkpoint-9 once more"),
    ],
)
def test_what_became_of_a_killed_run_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: str | None, words: str
) -> None:
    run = RunDir(tmp_path)
    status = StatusFile(run, 1)
    status.set("running", processes=[{**this_process(0), "start_time": 0.0}])
    status.close()
    if settings is not None:
        run.config.write_text(settings)
    assert main([str(run.path)]) == 1
    said = capsys.readouterr().out
    assert "died: its process was killed" in said
    assert words in said
