"""Runs that are killed, stopped and out of disk, in real processes with real signals."""

from __future__ import annotations

import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from memshield.rundir import RunDir, is_alive
from tests.tiny import image_folder, unet_config
from tests.trained_runs import ROOT, digits, flags, kill, start, train, wait_for_step, weights

pytestmark = pytest.mark.process

CLEAR = {"num_shards": 3, "num_rounds": 4, "max_train_steps": 60, "use_ema": True}


def finish(settings: dict[str, Any]) -> RunDir:
    """Run the same command until its end."""
    process = start(settings)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return RunDir(settings["output_dir"])


def assert_identical(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def assert_same_outcome(first: RunDir, second: RunDir) -> None:
    assert_identical(weights(first), weights(second))
    for name in ("skips", "examples"):
        assert pq.read_table(getattr(first, name)) == pq.read_table(getattr(second, name))
    assert second.read_status()["state"] == "done"
    steps = {e["step"] for e in second.read_events() if e["type"] == "round"}
    assert steps == {e["step"] for e in first.read_events() if e["type"] == "round"}


def settings_of(
    kind: str, folder: Path, request: pytest.FixtureRequest, captioned: Path
) -> dict[str, Any]:
    """Of a run on pixels, or of a LoRA on the model that a fixture has saved."""
    if kind == "pixels":
        return digits(folder / "run", unet_config(folder), checkpointing_steps=4, **CLEAR)
    return {
        "pretrained_model_name_or_path": request.getfixturevalue(kind),
        "train_data_dir": captioned,
        "random_flip": True,
        "num_shards": 3,
        "num_rounds": 4,
        "max_train_steps": 60,
        "train_batch_size": 4,
        "checkpointing_steps": 4,
        "learning_rate": 1e-3,
        "num_validation_images": 0,
        "output_dir": folder / "run",
    }


def kill_at_random(settings: dict[str, Any], kills: int, seed: int, reference: RunDir) -> None:
    """SIGKILL at random moments, the same command in between, then let it end."""
    generator = random.Random(seed)
    run = RunDir(settings["output_dir"])
    killed = 0
    while killed < kills:
        process = start(settings)
        # Past the next checkpoint or the one after it, so that every attempt gets on: then
        # some milliseconds, which may fall into a step, an aggregation or a save.
        newest = max(run.checkpoints(), default=-1)
        last = max(reference.checkpoints())
        if newest >= last:
            process.communicate(timeout=300)
            break
        wait_for_step(run, min(newest + generator.choice((1, 1, 5)), last), process)
        time.sleep(generator.random() * 0.15)
        kill(process)
        killed += 1
    train(**settings)
    assert killed >= min(kills, 2)
    assert_same_outcome(reference, run)


KILLED_ONCE_SAVED = """
import os, signal, sys
from memshield.train import main
from memshield.training.progress import Progress

def saved(progress, step, told=Progress.saved):
    told(progress, step)
    if step == 8:
        print(*sys.modules, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

Progress.saved = saved
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], set[str]]:
    """The settings of a run that was killed at the end of its first round, and its modules."""
    folder = tmp_path_factory.mktemp("killed")
    settings = digits(folder / "run", unet_config(folder))
    command = [sys.executable, "-c", KILLED_ONCE_SAVED, *flags(**settings)]
    process = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    return settings, set(process.stdout.split())


@pytest.mark.slow
def test_a_round_that_is_saved_has_its_event(killed: tuple[dict[str, Any], set[str]]) -> None:
    settings, _ = killed
    run = RunDir(settings["output_dir"])
    assert max(run.checkpoints()) == 8
    train(**settings)
    assert [e["step"] for e in run.read_events() if e["type"] == "round"] == [8, 16, 24]


def test_a_training_imports_only_what_it_needs(killed: tuple[dict[str, Any], set[str]]) -> None:
    _, modules = killed
    assert "diffusers" in modules
    others = {"datasets", "pandas", "sklearn", "matplotlib", "gradio", "memshield.hub.publish"}
    assert not others & modules


@pytest.mark.parametrize("kind", ["pixels", pytest.param("tiny_sd3", marks=pytest.mark.slow)])
def test_killed_runs_end_with_the_same_bits(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, captioned: Path
) -> None:
    settings = settings_of(kind, tmp_path, request, captioned)
    reference = train(**{**settings, "output_dir": tmp_path / "reference"})
    kill_at_random(settings, 2, 0, reference)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pixels", "tiny_sd"])
def test_runs_killed_many_times_end_with_the_same_bits(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, captioned: Path
) -> None:
    settings = settings_of(kind, tmp_path, request, captioned)
    settings |= {"num_rounds": 5, "max_train_steps": 150, "checkpointing_steps": 9}
    reference = train(**{**settings, "output_dir": tmp_path / "reference"})
    kill_at_random(settings, 5, 1, reference)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_saves_and_the_same_command_goes_on(number: signal.Signals, tmp_path: Path) -> None:
    settings = digits(
        tmp_path / "run",
        unet_config(tmp_path, channels=3),
        **{**CLEAR, "max_train_steps": 150},
        checkpointing_steps=1000,
        # Random crops are made by a worker process, which must not fall to the signal.
        train_data_dir=image_folder(tmp_path / "pictures", 60, width=24, captions=False),
        dataloader_num_workers=1,
    )
    del settings["dataset_name"]
    reference = train(**{**settings, "output_dir": tmp_path / "reference"})
    run = RunDir(settings["output_dir"])
    process = start(settings)
    wait_for_step(run, 0, process)
    time.sleep(0.4)
    said = kill(process, number)
    assert process.returncode == 128 + number, said
    assert "Traceback" not in said
    status = run.read_status()
    assert status["state"] == "stopped"
    assert number.name in status["reason"]
    assert not is_alive(status["processes"][0])
    assert 0 < max(run.checkpoints()) < 150
    finish(settings)
    assert_same_outcome(reference, run)


@pytest.mark.slow
def test_a_stop_while_preparing_leaves_a_run_that_starts(tmp_path: Path) -> None:
    settings = digits(tmp_path / "run", unet_config(tmp_path))
    run = RunDir(settings["output_dir"])
    process = start(settings)
    while run.read_status().get("state") != "preparing":
        assert process.poll() is None
        time.sleep(0.002)
    said = kill(process, signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert run.read_status()["state"] == "stopped"
    finish(settings)


@pytest.mark.slow
def test_a_full_disk_is_named_and_the_last_checkpoint_is_whole(tmp_path: Path) -> None:
    # No file may grow beyond this: room for weights, not for a shard's moments.
    limit = 300_000
    settings = digits(tmp_path / "run", unet_config(tmp_path), num_shards=2, checkpointing_steps=9)
    reference = train(**{**settings, "output_dir": tmp_path / "reference"})
    sizes = {p.name: p.stat().st_size for p in reference.checkpoint(8).iterdir()}
    assert sizes["start.safetensors"] < limit < sizes["shard-0.safetensors"], sizes
    run = RunDir(settings["output_dir"])
    process = subprocess.run(
        [sys.executable, "-m", "memshield.train", *flags(**settings)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        timeout=120,
        check=False,
    )
    assert process.returncode == 1, process.stderr
    assert "the disk is full" in process.stderr
    assert "Traceback" not in process.stderr
    assert run.read_status()["state"] == "failed"
    assert "disk is full" in run.read_status()["reason"]
    assert run.checkpoints() == [0]
    assert not list(run.path.glob(".*.tmp"))
    finish(settings)
    assert_same_outcome(reference, run)


@pytest.mark.slow
def test_two_trainings_do_not_share_a_run(tmp_path: Path) -> None:
    settings = digits(tmp_path / "run", unet_config(tmp_path), max_train_steps=4000)
    run = RunDir(settings["output_dir"])
    first = start(settings)
    wait_for_step(run, 0, first)
    second = start(settings)
    said, _ = second.communicate(timeout=60)
    assert second.returncode == 2
    assert "another process is training" in said
    kill(first)
    assert run.read_status()["state"] == "running"
    assert not is_alive(run.read_status()["processes"][0])


def test_accelerate_launch_trains_and_passes_a_stop_on(tmp_path: Path) -> None:
    settings = digits(tmp_path / "run", unet_config(tmp_path), max_train_steps=4000)
    run = RunDir(settings["output_dir"])
    launch = [sys.executable, "-m", "accelerate.commands.launch"]
    process = subprocess.Popen(
        [*launch, "-m", "memshield.train", *flags(**settings)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    wait_for_step(run, 3, process)
    said = kill(process, signal.SIGTERM)
    deadline = time.monotonic() + 20
    while run.read_status()["state"] != "stopped":
        assert time.monotonic() < deadline, said
        time.sleep(0.05)
