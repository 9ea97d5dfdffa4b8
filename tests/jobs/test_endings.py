"""How a command ended, and what it refused, is known to a server, also to another one."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from memshield.__main__ import main
from memshield.errors import UserError
from memshield.jobs import endings
from memshield.jobs.backends.local import LocalProcesses
from memshield.jobs.backends.seam import Look, Order
from memshield.jobs.folders import Folders
from memshield.jobs.records import LOCAL, Work
from memshield.rundir import RunDir
from tests.jobs.children import until


@pytest.mark.process
@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (("memshield", "--help"), 0, None),
        (("memshield", "plan", "--seed", "x"), 2, "seed: must be a whole number, is 'x'"),
        (("memshield", "no-command"), 2, None),
        (("memshield.train", "--seed", "x"), 2, "seed: must be a whole number, is 'x'"),
    ],
)
def test_another_server_learns_how_a_command_ended(
    tmp_path: Path, words: tuple[str, ...], code: int, problem: str | None
) -> None:
    folders = Folders(tmp_path / "data")
    work = Work("audit", (sys.executable, "-m", *words))
    order = Order(
        "mark", LOCAL, work, RunDir(tmp_path / "run"), tmp_path / "settings.yaml",
        tmp_path / "task-1.log",
    )  # fmt: skip
    endings.file_beside(order.output).write_text('{"code": 7, "problem": "of an earlier start"}')
    first = LocalProcesses(folders)
    order = replace(order, begun=first.start(order, None))
    until(lambda: not first.look(order).runs)
    found = LocalProcesses(folders).look(order)
    assert found == Look(runs=False, exit_code=code, problem=found.problem)
    assert (found.problem or "").startswith(problem or "") and (found.problem is None) == (
        problem is None
    )


def test_a_command_notes_its_ending_and_its_children_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = endings.file_beside(tmp_path / "task-1.log")
    assert endings.read(path) is None
    monkeypatch.setenv(endings.VARIABLE, str(path))
    with pytest.raises(RuntimeError), endings.noted() as ending:
        assert endings.VARIABLE not in os.environ
        raise RuntimeError
    assert (ending.code, endings.read(path)) == (1, endings.Ending(1)), "it crashed"
    monkeypatch.setenv(endings.VARIABLE, str(path))
    assert main(["--help"]) == 0
    assert endings.read(path) == endings.Ending(0)
    # What cannot be noted changes nothing.
    monkeypatch.setenv(endings.VARIABLE, str(tmp_path / "no" / "folder"))
    assert main(["no-command"]) == 2
    deep = "[" * 100_000
    for damaged in ("x", "3", '{"other": 1}', '{"code": "2"}', '{"problem": ["x"]}', deep):
        path.write_text(damaged)
        assert endings.read(path) is None


def test_what_is_refused_is_noted_for_a_page_by_the_first_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = endings.file_beside(tmp_path / "task-1.log")
    for rank in ("1", "0"):
        monkeypatch.setenv(endings.VARIABLE, str(path))
        monkeypatch.setenv("RANK", rank)
        with endings.noted() as ending:
            ending.refuse(UserError("lr_rank", "it is 0", "Raise it.", "Raise it: hf_" + 30 * "x"))
        found = endings.read(path)
        assert (found is None) == (rank == "1")
    assert found is not None and found.code == 2 and found.problem is not None
    assert found.problem.startswith("lr rank: it is 0. Raise it:") and "hf_xxx" not in found.problem
