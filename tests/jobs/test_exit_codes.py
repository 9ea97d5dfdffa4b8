"""How a command ended is known, too, where the server that started it is gone."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from memshield.__main__ import main
from memshield.jobs import exit_codes
from memshield.jobs.backends.local import LocalProcesses
from memshield.jobs.backends.seam import Look, Order
from memshield.jobs.folders import Folders
from memshield.jobs.records import LOCAL, Work
from memshield.rundir import RunDir
from tests.jobs.children import until


@pytest.mark.process
@pytest.mark.parametrize(
    ("words", "code"), [(("--help",), 0), (("plan", "--seed", "x"), 2), (("no-command",), 2)]
)
def test_another_server_learns_how_a_command_ended(
    tmp_path: Path, words: tuple[str, ...], code: int
) -> None:
    folders = Folders(tmp_path / "data")
    work = Work("audit", (sys.executable, "-m", "memshield", *words))
    order = Order(
        "mark", LOCAL, work, RunDir(tmp_path / "run"), tmp_path / "settings.yaml",
        tmp_path / "task-1.log",
    )  # fmt: skip
    first = LocalProcesses(folders)
    order = replace(order, begun=first.start(order, None))
    until(lambda: not first.look(order).runs)
    second = LocalProcesses(folders)
    assert second.look(order) == Look(runs=False, exit_code=code)


def test_a_command_notes_its_code_and_its_children_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = exit_codes.file_beside(tmp_path / "task-1.log")
    assert exit_codes.read(path) is None
    monkeypatch.setenv(exit_codes.VARIABLE, str(path))
    with pytest.raises(RuntimeError), exit_codes.noted() as code:
        assert exit_codes.VARIABLE not in os.environ
        raise RuntimeError
    assert (code.value, exit_codes.read(path)) == (1, 1), "it crashed"
    monkeypatch.setenv(exit_codes.VARIABLE, str(path))
    assert main(["--help"]) == 0
    assert exit_codes.read(path) == 0
    # What cannot be noted changes nothing.
    monkeypatch.setenv(exit_codes.VARIABLE, str(tmp_path / "no" / "folder"))
    assert main(["no-command"]) == 2
    path.write_text("x")
    assert exit_codes.read(path) is None
