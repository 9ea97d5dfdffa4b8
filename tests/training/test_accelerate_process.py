"""What a training takes from accelerate's command line, and what it says of accelerate's part."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from memshield.errors import UserError
from memshield.training.accelerate_process import (
    AccelerateProcess,
    find_accelerate,
    join_machines,
    note_on_traceback,
    use_all_cores,
)
from tests.tiny import unet_config
from tests.trained_runs import ROOT, digits, flags

LAUNCH = ("accelerate", "launch")


def launched(
    *words: str, threads: str | None = None, **settings: object
) -> subprocess.CompletedProcess[str]:
    """`accelerate launch` without a file of its own settings, as the README has it."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = threads
    command = [sys.executable, "-m", "accelerate.commands.launch", *words]
    return subprocess.run(
        [*command, "-m", "memshield.train", *flags(**settings)],
        cwd=ROOT,
        env={**environment, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.mark.parametrize(
    ("words", "environment", "expected"),
    [
        (LAUNCH, {}, "7"),
        (LAUNCH, {"OMP_NUM_THREADS": "1"}, "1"),
        ((*LAUNCH, "--num_cpu_threads_per_process", "1"), {}, "1"),
        ((*LAUNCH, "--num-cpu-threads-per-process=1"), {}, "1"),
    ],
)
def test_all_cores_are_used_unless_a_person_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    environment: dict[str, str],
    expected: str,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("GOMP_SPINCOUNT", "")
    del os.environ["GOMP_SPINCOUNT"]
    use_all_cores(AccelerateProcess(words, environment), 7)
    assert os.environ["OMP_NUM_THREADS"] == expected
    # Threads that a person did not ask for must not spin away the cores of others.
    assert ("GOMP_SPINCOUNT" in os.environ) == (expected == "7")


SEVERAL = ("--num_machines", "2", "--machine-rank=1", "--num_processes")
THERE = {"MASTER_ADDR": "10.0.0.1"}


@pytest.mark.parametrize(
    ("words", "environment", "place"),
    [
        ((*SEVERAL, "2"), THERE, ("1", "2", "0", "1")),
        (("--config_file", "{file}", "--machine_rank", "2"), THERE, ("2", "3", "0", "1")),
        (("--num_processes", "2"), THERE, None),
        ((*SEVERAL, "2"), {}, None),
        ((*SEVERAL, "4"), {**THERE, "RANK": "3"}, None),
    ],
)
def test_processes_of_several_machines_find_their_places(
    tmp_path: Path,
    words: tuple[str, ...],
    environment: dict[str, str],
    place: tuple[str, ...] | None,
) -> None:
    file = tmp_path / "nodes.yaml"
    file.write_text("num_machines: 3\nnum_processes: 3\nmachine_rank: 1\n")
    launcher = AccelerateProcess((*LAUNCH, *(word.format(file=file) for word in words)), {})
    found = dict(environment)
    join_machines(launcher, found)
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    added = {} if place is None else dict(zip(names, place, strict=True))
    assert found == environment | added


def test_accelerates_own_file_tells_of_several_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate.commands.config import config_args

    file = tmp_path / "default_config.yaml"
    file.write_text("num_machines: 2\nnum_processes: 2\nmachine_rank: 1\n")
    monkeypatch.setattr(config_args, "default_config_file", str(file))
    found = dict(THERE)
    join_machines(AccelerateProcess(LAUNCH, {}), found)
    assert (found["RANK"], found["WORLD_SIZE"]) == ("1", "2")
    found = dict(THERE)
    join_machines(AccelerateProcess((*LAUNCH, "--cpu"), {}), found)  # which does not read it
    assert found == THERE


def test_more_processes_than_accelerate_starts_are_refused() -> None:
    launcher = AccelerateProcess((*LAUNCH, *SEVERAL, "4"), {})
    with pytest.raises(UserError, match="one process a machine, not 4 on 2"):
        join_machines(launcher, dict(THERE))


@pytest.mark.parametrize(
    ("set_before", "expected"),
    [({}, "7"), ({"OMP_NUM_THREADS": "2"}, "2"), ({"WORLD_SIZE": "2"}, None)],
)
def test_all_cores_are_used_without_a_launcher_too(
    monkeypatch: pytest.MonkeyPatch, set_before: dict[str, str], expected: str | None
) -> None:
    environment = {"PATH": os.environ["PATH"], **set_before}
    monkeypatch.setattr(os, "environ", environment)
    use_all_cores(None, 7)
    assert environment.get("OMP_NUM_THREADS") == expected


def test_a_launcher_is_found_for_one_process_only(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["python", "container.py", "--link", "a=configs/accelerate/cpu.yaml"]
    parent: SimpleNamespace | None = SimpleNamespace(
        cmdline=lambda: words, environ=lambda: {"A": "b"}
    )
    monkeypatch.setattr(psutil, "Process", lambda: SimpleNamespace(parent=lambda: parent))
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    assert find_accelerate() is None
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert find_accelerate() is None
    for words in ([*LAUNCH], ["python", "-m", "accelerate.commands.launch"]):
        assert find_accelerate() == AccelerateProcess(tuple(words), {"A": "b"})
    parent = None
    assert find_accelerate() is None
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert find_accelerate() is None


def test_a_launcher_that_cannot_be_read_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied() -> None:
        raise psutil.AccessDenied

    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setattr(psutil, "Process", denied)
    assert find_accelerate() is None


@pytest.mark.parametrize(
    ("words", "code", "noted"),
    [(LAUNCH, 2, True), (LAUNCH, 0, False), (LAUNCH, 143, False), ((*LAUNCH, "-q"), 2, False)],
)
def test_the_note_stands_only_where_a_traceback_follows(
    words: tuple[str, ...], code: int, noted: bool
) -> None:
    assert (note_on_traceback(AccelerateProcess(words, {}), code) is not None) == noted
    assert note_on_traceback(None, code) is None


@pytest.mark.process
def test_a_refusal_under_accelerate_says_whose_traceback_follows(tmp_path: Path) -> None:
    settings = digits(tmp_path / "run", unet_config(tmp_path / "unet"), lr_warmup_steps=25)
    loud = launched(**settings).stderr
    ours, note, theirs = loud.partition("(The traceback below is accelerate's")
    assert "lr_warmup_steps: 25 is more than max_train_steps 24" in ours
    assert "Traceback" not in ours
    assert note
    assert "CalledProcessError" in theirs
    quiet = launched("-q", **settings)
    assert quiet.returncode == 1
    assert "lr_warmup_steps: 25" in quiet.stderr
    assert "raceback" not in quiet.stderr


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize(
    ("threads", "said"), [(None, f"{len(os.sched_getaffinity(0))} threads"), ("1", "one thread")]
)
def test_a_cpu_training_says_how_many_threads_it_uses(
    tmp_path: Path, threads: str | None, said: str
) -> None:
    settings = digits(tmp_path / "run", unet_config(tmp_path / "unet"), max_train_steps=6)
    trained = launched(threads=threads, **settings)
    assert trained.returncode == 0, trained.stderr
    assert f"training on the CPU with {said}\n" in trained.stderr
