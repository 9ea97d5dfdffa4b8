"""Several processes: the same result, and what happens when one is stopped, lost or different."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from filelock import FileLock

from memshield.rundir import RunDir, is_alive, lock_path
from memshield.training import ranks
from memshield.training.checkpoint import Checkpoint, RoundProgress
from memshield.training.interruption import StopRequest
from memshield.training.ranks import Ranks
from tests.tiny import unet_config
from tests.trained_runs import (
    ROOT,
    digits,
    finish_ranks,
    flags,
    free_port,
    launch,
    launch_on_machines,
    start_ranks,
    train,
    wait_for_step,
    weights,
)

# Three shards on two ranks: one trains two, the other one.
UNEVEN: dict[str, Any] = {
    "num_shards": 3,
    "num_rounds": 3,
    "max_train_steps": 60,
    "checkpointing_steps": 7,
    # AdamW divides by the gradient's size: this keeps rounding from growing into steps.
    "adam_epsilon": 1e-4,
}


# One rank is in a step that is longer than a rank waits for another after a signal.
SLOW = """
import os, sys, time
from pathlib import Path
from memshield.training import ranks, step
ranks.STOP_SECONDS = 2.0
steps, whole = [], step.Stepper.step
def slow(self, *words):
    steps.append(1)
    if len(steps) > 3:
        is_slow = os.environ["RANK"] == os.environ["SLOW_RANK"]
        if is_slow:
            Path(os.environ["NOTE"]).touch()
        time.sleep(8 if is_slow else 0.1)
    return whole(self, *words)
step.Stepper.step = slow
from memshield.train import main
if "LIMIT" in os.environ:
    os.environ["MEMSHIELD_STOP_AT"] = str(time.time() + float(os.environ["LIMIT"]))
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def unet(tmp_path: Path) -> Path:
    return unet_config(tmp_path / "unet")


def lora(folder: Path, base: Path, data: Path, **changes: Any) -> dict[str, Any]:
    return {
        "pretrained_model_name_or_path": base,
        "train_data_dir": data,
        "num_validation_images": 1,
        "num_inference_steps": 2,
        "train_batch_size": 2,
        "learning_rate": 1e-3,
        "output_dir": folder,
        **UNEVEN,
        **changes,
    }


def assert_same_run(one: RunDir, several: RunDir) -> None:
    """All but the rounding of a sum in another order."""
    ours, theirs = weights(one), weights(several)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.allclose(tensor, theirs[name], rtol=1e-4, atol=1e-5), name
    assert pq.read_table(one.skips)["draws"] == pq.read_table(several.skips)["draws"]
    rounds = [[e for e in run.read_events() if e["type"] == "round"] for run in (one, several)]
    assert [e["step"] for e in rounds[0]] == [e["step"] for e in rounds[1]]
    for first, second in zip(*rounds, strict=True):
        assert first["loss"] == pytest.approx(second["loss"], rel=1e-3)
        assert first["kept"] == pytest.approx(second["kept"], abs=0.02)
    assert several.read_status()["state"] == "done"


@pytest.mark.process
def test_two_ranks_equal_one(tmp_path: Path, unet: Path) -> None:
    settings = {**UNEVEN, "use_ema": True, "outer_momentum": 0.5, "outer_learning_rate": 0.8}
    one = train(**digits(tmp_path / "one", unet, **settings))
    two, _ = finish_ranks(digits(tmp_path / "two", unet, **settings))
    assert_same_run(one, two)
    assert [p["rank"] for p in two.read_status()["processes"]] == [0, 1]
    for step in two.checkpoints():
        found = Checkpoint.read(two, step)
        assert len(found.places) in (0, 2)
    assert not list(two.path.glob(".*.tmp"))


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("kind", ["tiny_sd", "tiny_sd3"])
def test_two_ranks_equal_one_on_a_lora(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, captioned: Path
) -> None:
    base = request.getfixturevalue(kind)
    one = train(**lora(tmp_path / "one", base, captioned))
    two, _ = finish_ranks(lora(tmp_path / "two", base, captioned))
    assert_same_run(one, two)
    assert sorted(p.name for p in two.samples.iterdir()) == [f"round-000{n}.png" for n in (1, 2, 3)]


@pytest.mark.slow
@pytest.mark.process
def test_surplus_ranks_idle_with_a_warning(tmp_path: Path, unet: Path) -> None:
    settings = {"num_shards": 1, "skip_threshold": 0}
    one = train(**digits(tmp_path / "one", unet, **settings))
    two, said = finish_ranks(digits(tmp_path / "two", unet, **settings))
    assert "2 processes for 1 shards: 1 of them idle" in said
    for name, tensor in weights(one).items():
        assert torch.equal(tensor, weights(two)[name])


@pytest.mark.slow
@pytest.mark.process
def test_sigterm_stops_all_ranks_with_one_whole_checkpoint(tmp_path: Path, unet: Path) -> None:
    settings = digits(tmp_path / "run", unet, **{**UNEVEN, "max_train_steps": 240})
    settings |= {"checkpointing_steps": 10_000, "num_rounds": 2}
    reference, _ = finish_ranks({**settings, "output_dir": tmp_path / "reference"})
    run = RunDir(settings["output_dir"])
    process = launch(settings, "cpu_2_processes")
    wait_for_step(run, 0, process)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    status = run.read_status()
    assert (status["state"], status["error"]) == ("stopped", None), said
    assert "SIGTERM" in status["reason"]
    assert not any(is_alive(p) for p in status["processes"])
    (step,) = set(run.checkpoints()) - {0}
    found = Checkpoint.read(run, step)
    assert len(found.places) == 2
    assert min(found.places, key=lambda place: (place.turn, place.done)) != RoundProgress(0, 0)
    # Two ranks go on inside the round, with the same bits.
    finish_ranks(settings)
    assert f"checkpoint-{step}" not in os.listdir(reference.path)
    for name, tensor in weights(reference).items():
        assert torch.equal(tensor, weights(run)[name])
    assert pq.read_table(reference.skips) == pq.read_table(run.skips)


@pytest.mark.slow
@pytest.mark.process
def test_another_number_of_ranks_goes_on_from_the_rounds_end(tmp_path: Path, unet: Path) -> None:
    # Only the newest checkpoint is asked for: the one of the round's end must stay as well.
    settings = digits(tmp_path / "run", unet, **UNEVEN, checkpoints_total_limit=1)
    one = train(**{**settings, "output_dir": tmp_path / "one"})
    run = RunDir(settings["output_dir"])
    processes = start_ranks(settings)
    wait_for_step(run, 28, processes[0])
    for process in processes:
        os.killpg(process.pid, signal.SIGKILL)
    for process in processes:
        process.communicate(timeout=60)
    kept = [Checkpoint.read(run, step) for step in run.checkpoints()]
    inside = [found.step for found in kept if found.places]
    assert any(not found.places for found in kept)
    train(**settings)
    assert_same_run(one, run)
    events = [e for e in run.read_events() if e["type"] == "checkpoint" and e["attempt"] == 2]
    assert events[0]["step"] > max(f.step for f in kept if not f.places)
    if inside:
        assert not set(inside) & {20, 40, 60}


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_killed_rank_fails_the_run_within_a_minute(tmp_path: Path, unet: Path, lost: int) -> None:
    settings = digits(tmp_path / "run", unet, **{**UNEVEN, "max_train_steps": 6000})
    run = RunDir(settings["output_dir"])
    process = launch(settings, "cpu_2_processes")
    wait_for_step(run, 7, process)
    killed = time.monotonic()
    os.kill(run.read_status()["processes"][lost]["pid"], signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    assert time.monotonic() - killed < 60
    status = run.read_status()
    assert (status["state"], status["error"]) == ("failed", "rank_lost"), said
    assert f"rank {lost} was lost" in status["reason"]
    assert not any(is_alive(p) for p in status["processes"])
    if lost == 0:  # who held the lock and wrote the status
        newest = Checkpoint.read(run, run.checkpoints()[-1])
        processes = start_ranks(settings)
        wait_for_step(run, newest.step + 7, processes[0])
        assert run.read_status()["state"] == "running"
        end(processes)


def end(processes: list[subprocess.Popen[str]]) -> None:
    """SIGTERM to all ranks, as a launcher gives it."""
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        process.communicate(timeout=60)


@pytest.mark.process
@pytest.mark.slow
def test_a_stop_of_one_rank_reaches_the_others(tmp_path: Path, unet: Path) -> None:
    settings = digits(tmp_path / "run", unet, **{**UNEVEN, "max_train_steps": 6000})
    run = RunDir(settings["output_dir"])
    processes = start_ranks(settings)
    wait_for_step(run, 7, processes[0])
    processes[1].send_signal(signal.SIGTERM)
    said = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [143, 143], said
    assert run.read_status()["state"] == "stopped"
    assert not run.stop_file.exists()


@pytest.mark.process
def test_ranks_of_different_settings_are_found_at_the_start(tmp_path: Path, unet: Path) -> None:
    settings = digits(tmp_path / "run", unet)
    processes = start_ranks(settings, rank_1={"learning_rate": 0.5})
    said = [process.communicate(timeout=60)[0] for process in processes]
    assert processes[0].returncode == 2, said
    assert processes[1].returncode != 0
    assert "process 1 differs from process 0 in settings: learning_rate 0.5, not 0.001" in said[0]
    status = RunDir(settings["output_dir"]).read_status()
    assert (status["state"], status["error"]) == ("failed", "bad_input")
    assert not RunDir(settings["output_dir"]).rounds.exists()


@pytest.mark.process
def test_ranks_of_different_code_are_found_at_the_start(tmp_path: Path, unet: Path) -> None:
    shutil.copytree(ROOT / "memshield", tmp_path / "other" / "memshield")
    changed = tmp_path / "other" / "memshield" / "training" / "step.py"
    changed.write_text(changed.read_text() + "\n")
    settings = digits(tmp_path / "run", unet)
    processes = start_ranks(settings, last_code=tmp_path / "other")
    said = [process.communicate(timeout=60)[0] for process in processes]
    assert processes[0].returncode == 2, said
    assert "process 1 differs from process 0 in the code of memshield" in said[0]


@pytest.mark.process
def test_what_goes_wrong_on_another_rank_is_told_by_rank_0(tmp_path: Path, unet: Path) -> None:
    # A node that does not see rank 0's output_dir.
    settings = digits(tmp_path / "run", unet)
    processes = start_ranks(settings, rank_1={"output_dir": tmp_path / "elsewhere"})
    said = [process.communicate(timeout=60)[0] for process in processes]
    assert all(process.returncode != 0 for process in processes)
    assert "Put it on a file system that all machines share" in said[1]
    status = RunDir(settings["output_dir"]).read_status()
    assert status["state"] == "failed"
    assert status["reason"].count("process 1") == 1


@pytest.mark.process
@pytest.mark.slow
def test_two_machines_equal_one_and_must_share_a_folder(tmp_path: Path, unet: Path) -> None:
    settings = digits(
        tmp_path / "run", unet, num_rounds=2, max_train_steps=8, adam_epsilon=UNEVEN["adam_epsilon"]
    )
    one = train(**{**settings, "output_dir": tmp_path / "one"})
    folder = settings.pop("output_dir")
    machines = launch_on_machines(folder, folder, **settings)
    said = [machine.communicate(timeout=120)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], said
    run = RunDir(folder)
    assert [p["rank"] for p in run.read_status()["processes"]] == [0, 1]
    assert_same_run(one, run)
    # A folder of the same name and content on the other machine's own disk.
    own = tmp_path / "own"
    shutil.copytree(folder, own)
    machines = launch_on_machines(folder, own, **settings)
    said = [machine.communicate(timeout=120)[0] for machine in machines]
    assert all(machine.returncode for machine in machines)
    assert "Put it on a file system that all machines share" in said[1]


# Files for accelerate


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs/accelerate").glob("*.yaml")), ids=lambda path: path.stem
)
def test_accelerate_reads_its_files(path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    found = load_config_from_file(str(path))
    several = path.stem in ("cpu_2_processes", "multi_gpu", "multi_node")
    assert (found.num_processes > 1) == several
    assert found.use_cpu == path.stem.startswith("cpu")
    assert (found.num_machines > 1) == (path.stem == "multi_node")
    assert found.mixed_precision == ("no" if found.use_cpu else "bf16")


@pytest.mark.process
def test_one_process_on_the_cpu(tmp_path: Path, unet: Path) -> None:
    settings = digits(tmp_path / "run", unet)
    process = launch(settings, "cpu")
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert RunDir(settings["output_dir"]).read_status()["state"] == "done"


def test_messages_hold_every_tensor_once_and_no_more_than_a_bucket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ranks, "_BUCKET_NUMBERS", 10)
    sizes = [4, 4, 4, 25, 1, 9, 1]
    tensors = [torch.zeros(size) for size in sizes] + [torch.zeros(2, dtype=torch.float64)]
    found = [[len(tensor) for tensor in bucket] for bucket in ranks._buckets(tensors)]
    assert found == [[4, 4], [4], [25], [1, 9], [1], [2]]
    assert list(ranks._buckets([])) == []


def test_the_others_are_told_of_a_stop_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at the next look, a second later: a rank that gives up waiting makes none."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    told = tmp_path / ".stop"
    stops = [StopRequest(), StopRequest()]
    both = [Ranks(stop) for stop in stops]
    for rank in both:
        rank._stop_file = told
        assert not rank.stop_wanted()
    stops[0].note()
    assert both[0].stop_wanted() and told.exists()
    both[1]._last_look = float("-inf")
    assert both[1].stop_wanted() and stops[1].requested


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize(
    ("asked", "slow"), [("by a signal", 1), ("by a signal", 0), ("by a time limit", 1)]
)
def test_a_stop_in_a_long_step_of_another_rank(
    tmp_path: Path, unet: Path, asked: str, slow: int
) -> None:
    """A time limit waits for it; after a signal to one rank all end, and no lock is held."""
    settings = digits(
        tmp_path / "run", unet, num_rounds=1, max_train_steps=4000, checkpointing_steps=1000
    )
    run, port, noted = RunDir(tmp_path / "run"), str(free_port()), tmp_path / "noted"
    # Seconds from when everything is imported, in which a busy machine begins to train.
    limit = {"LIMIT": "15"} if asked == "by a time limit" else {}
    of_all = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true",
              "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}  # fmt: skip
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SLOW, *flags(**settings)],
            cwd=ROOT,
            env={
                **os.environ,
                **of_all,
                **limit,
                "SLOW_RANK": str(slow),
                "NOTE": str(noted),
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
            },
        )
        for rank in range(2)
    ]
    try:
        if not limit:
            deadline = time.monotonic() + 120
            while not noted.exists():
                assert time.monotonic() < deadline
                time.sleep(0.1)
            processes[1 - slow].send_signal(signal.SIGTERM)
        codes = [process.wait(120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    state = run.read_status()["state"]
    if limit:
        assert (codes, state) == ([143, 143], "stopped")
        assert max(run.checkpoints()) > 0
    else:
        assert (codes, state) == ([1, 1], "failed")
    with FileLock(lock_path(run), timeout=0):
        pass
