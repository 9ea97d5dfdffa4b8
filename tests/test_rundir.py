"""The run directory as its readers meet it: torn lines, killed writers, pids that are reused."""

from __future__ import annotations

import itertools
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import memshield.rundir
from memshield.rundir import (
    EventLog,
    RunDir,
    StatusFile,
    is_alive,
    new_folder,
    remove_leftovers,
    write_text,
)

ROOT = Path(__file__).parent.parent


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


# Paths


def test_only_whole_checkpoints_are_listed(run: RunDir) -> None:
    for name in ("checkpoint-9", "checkpoint-10", ".checkpoint-11.1.tmp", "checkpoint-x"):
        (run.path / name).mkdir()
    assert run.checkpoints() == [9, 10]
    assert run.checkpoint(10) == run.path / "checkpoint-10"


@pytest.mark.parametrize("left", ["", "{", "7"])
def test_a_status_that_cannot_be_read_is_none(run: RunDir, left: str) -> None:
    """A machine that loses its power can leave one."""
    run.status.write_text(left)
    assert run.read_status() == {}


def test_a_folder_is_a_run_once_it_holds_a_config(run: RunDir) -> None:
    assert not run.is_run()
    assert run.read_status() == {}
    assert run.read_events() == []
    run.config.write_text("")
    assert run.is_run()


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """YAML passes one on, where a shell puts the folder in its place."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert RunDir("~/runs/x").path == tmp_path / "runs" / "x"


# Events


def test_events_carry_their_attempt_and_come_back_in_order(run: RunDir) -> None:
    log = EventLog(run, attempt=3)
    log.write("step", step=1, loss=0.5)
    log.write("error", reason="two\nlines \u2028 and more")
    first, second = run.read_events()
    assert {name: first[name] for name in ("v", "type", "attempt", "step", "loss")} == {
        "v": 1,
        "type": "step",
        "attempt": 3,
        "step": 1,
        "loss": 0.5,
    }
    assert abs(first["time"] - time.time()) < 60
    assert second["reason"] == "two\nlines \u2028 and more"


def test_what_json_cannot_say_is_not_written(run: RunDir) -> None:
    log = EventLog(run, 1)
    with pytest.raises(ValueError, match="JSON"):
        log.write("step", loss=float("nan"))
    assert run.read_events() == []


def tear(run: RunDir, keep: int) -> None:
    """Cut the log as if its writer had been killed `keep` bytes into its last line."""
    lines = run.events.read_bytes().splitlines(keepends=True)
    run.events.write_bytes(b"".join(lines[:-1]) + lines[-1][:keep])


def steps(run: RunDir) -> list[int]:
    return [event["step"] for event in run.read_events()]


@pytest.mark.parametrize("keep", [1, 9, 40])
def test_a_torn_last_line_is_ignored(run: RunDir, keep: int) -> None:
    log = EventLog(run, 1)
    for step in (1, 2, 3):
        log.write("step", step=step)
    tear(run, keep)
    assert steps(run) == [1, 2]


@pytest.mark.parametrize("keep", [1, 9, 40])
def test_a_new_attempt_goes_on_after_a_torn_line(run: RunDir, keep: int) -> None:
    log = EventLog(run, 1)
    log.write("step", step=1)
    log.write("step", step=2)
    tear(run, keep)
    log = EventLog(run, 2)
    assert steps(run) == [1]
    log.write("step", step=2)
    log.write("step", step=3)
    assert steps(run) == [1, 2, 3]


def test_attempts_may_be_torn_one_after_the_other(run: RunDir) -> None:
    for attempt in (1, 2):
        EventLog(run, attempt).write("step", step=attempt)
        tear(run, 12)
        assert steps(run) == []
    EventLog(run, 3).write("step", step=3)
    assert steps(run) == [3]


def test_a_writer_may_go_on_after_a_line_that_it_could_not_end(run: RunDir) -> None:
    # The disk was full for a moment: the error is reported behind half an event.
    log = EventLog(run, 1)
    log.write("step", step=1)
    log.write("step", step=2)
    tear(run, 12)
    log.write("error", reason="the disk is full")
    EventLog(run, 2).write("step", step=2)
    assert [event.get("step") for event in run.read_events() if event["type"] == "step"] == [1, 2]


def test_at_most_two_step_events_a_second(run: RunDir) -> None:
    log = EventLog(run, 1)
    assert log.step_is_due()
    due = [time.monotonic()]
    while len(due) < 3:
        if log.step_is_due():
            due.append(time.monotonic())
        time.sleep(0.001)
    assert all(later - earlier > 0.49 for earlier, later in itertools.pairwise(due))


# Status


@pytest.fixture
def status(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> Iterator[StatusFile]:
    monkeypatch.setattr(memshield.rundir, "HEARTBEAT_SECONDS", 0.01)
    status = StatusFile(run, attempt=2)
    yield status
    status.close()


def test_the_status_names_its_process(run: RunDir, status: StatusFile) -> None:
    read = run.read_status()
    assert (read["state"], read["attempt"], read["reason"]) == ("preparing", 2, None)
    (process,) = read["processes"]
    assert process["rank"] == 0
    assert is_alive(process)


def test_a_state_is_written_at_once(run: RunDir, status: StatusFile) -> None:
    status.close()
    status.set("running", total_steps=7)
    assert run.read_status()["state"] == "running"
    status.set("failed", "a reason")
    read = run.read_status()
    assert (read["state"], read["reason"], read["total_steps"]) == ("failed", "a reason", 7)


def test_the_heart_beats_until_the_end(run: RunDir, status: StatusFile) -> None:
    first = run.read_status()["heartbeat"]
    wait_for(lambda: run.read_status()["heartbeat"] > first)
    status.update(step=5)
    wait_for(lambda: run.read_status().get("step") == 5)
    status.close()
    last = run.status.read_bytes()
    time.sleep(0.1)
    assert run.status.read_bytes() == last
    assert names(run.path) == ["status.json"]


def test_a_reader_never_meets_half_a_status(run: RunDir, status: StatusFile) -> None:
    for number in range(300):
        status.set("running", filler="x" * (number * 50))
        assert json.loads(run.status.read_text())["state"] == "running"


def test_a_failed_beat_does_not_silence_the_heart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memshield.rundir, "HEARTBEAT_SECONDS", 0.01)
    here, away = tmp_path / "run", tmp_path / "away"
    here.mkdir()
    status = StatusFile(RunDir(here), 1)
    here.rename(away)
    time.sleep(0.05)
    assert not here.exists()
    before = RunDir(away).read_status()["heartbeat"]
    away.rename(here)
    wait_for(lambda: bool(RunDir(here).read_status()["heartbeat"] > before))
    status.close()


# Processes


def sleeper() -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    start = psutil.Process(process.pid).create_time()
    return process, {"host": socket.gethostname(), "pid": process.pid, "start_time": start}


@pytest.mark.process
def test_a_killed_process_is_not_alive() -> None:
    process, entry = sleeper()
    assert is_alive(entry)
    process.kill()
    process.wait()
    assert not is_alive(entry)


@pytest.mark.process
def test_a_killed_process_that_nobody_waited_for_is_not_alive() -> None:
    process, entry = sleeper()
    process.kill()
    zombie = psutil.Process(process.pid)
    try:
        wait_for(lambda: bool(zombie.status() == psutil.STATUS_ZOMBIE))
        assert not is_alive(entry)
    finally:
        process.wait()


def test_another_process_with_the_same_pid_is_not_the_same() -> None:
    me = psutil.Process()
    here = {"host": socket.gethostname(), "pid": me.pid}
    assert is_alive({**here, "start_time": me.create_time()})
    assert not is_alive({**here, "start_time": me.create_time() - 5})
    # Only its heartbeat can tell of a process elsewhere.
    assert is_alive({**here, "host": "elsewhere", "start_time": me.create_time() - 5})


# Whole or not at all


def test_a_text_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "öne")
    write_text(path, "two")
    assert path.read_text(encoding="utf-8") == "two"
    assert names(tmp_path) == ["a.txt"]


def test_a_text_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half of it \ud800")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "parent" / "made"
    with new_folder(target) as aside:
        (aside / "inner").mkdir()
        (aside / "inner" / "a").write_text("a")
        (aside / "link").symlink_to("nowhere")
        assert not target.exists()
    assert (target / "inner" / "a").read_text() == "a"
    assert names(target) == ["inner", "link"]
    assert names(target.parent) == ["made"]


def test_a_folder_is_replaced_without_leftovers(tmp_path: Path) -> None:
    target = tmp_path / "made"
    for text, name in (("old", "a"), ("new", "b")):
        with new_folder(target) as aside:
            (aside / name).write_text(text)
    assert names(target) == ["b"]
    assert names(tmp_path) == ["made"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("there", [True, False])
def test_an_exception_inside_leaves_nothing(
    tmp_path: Path, error: type[BaseException], there: bool
) -> None:
    target = tmp_path / "made"
    if there:
        with new_folder(target) as aside:
            (aside / "a").write_text("old")
    with pytest.raises(error), new_folder(target) as aside:
        (aside / "a").write_text("new")
        raise error
    assert names(tmp_path) == (["made"] if there else [])
    assert not there or (target / "a").read_text() == "old"


@pytest.mark.process
def test_a_killed_writer_leaves_the_old_folder_and_leftovers_that_can_be_removed(
    tmp_path: Path,
) -> None:
    target = tmp_path / "made"
    with new_folder(target) as aside:
        (aside / "a").write_text("old")
    code = (
        "import os, pathlib, signal, memshield.rundir as r\n"
        f"with r.new_folder(pathlib.Path({str(target)!r})) as aside:\n"
        "    (aside / 'a').write_text('new')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == -9
    assert (target / "a").read_text() == "old"
    assert len(names(tmp_path)) == 2
    (tmp_path / ".status.json.123.tmp").write_text("{")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["made"]


def test_only_leftovers_are_removed(tmp_path: Path) -> None:
    for name in ("a.tmp", ".lock", "status.json"):
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == [".lock", "a.tmp", "status.json"]
