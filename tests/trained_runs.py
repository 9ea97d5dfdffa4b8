"""Starting trainings from tests: in this process, or in one of their own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

from memshield.rundir import RunDir
from memshield.train import main

ROOT = Path(__file__).parent.parent


def flags(**settings: Any) -> list[str]:
    """Settings as command-line words; a list becomes several words, True a bare flag."""
    words = []
    for name, value in settings.items():
        words.append(f"--{name}")
        if value is True:
            continue
        words += [str(item) for item in value] if isinstance(value, list) else [str(value)]
    return words


def digits(folder: Path, unet: Path, **changes: Any) -> dict[str, Any]:
    """Settings of a small run on scikit-learn's digits: 2 shards, 3 rounds, 24 steps."""
    return {
        "model_config_name_or_path": unet,
        "dataset_name": "sklearn:digits",
        "max_train_samples": 60,
        "held_out_fraction": 0.1,
        "num_shards": 2,
        "num_rounds": 3,
        "train_batch_size": 4,
        "max_train_steps": 24,
        "checkpointing_steps": 3,
        "learning_rate": 1e-3,
        "num_validation_images": 0,
        "output_dir": folder,
        **changes,
    }


def train(expect: int = 0, **settings: Any) -> RunDir:
    """Train in this process; the exit code must be the expected one."""
    code = main(flags(**settings))
    assert code == expect, f"exit code {code}"
    return RunDir(settings["output_dir"])


def go_back(step: int, settings: dict[str, Any]) -> RunDir:
    """Train from a checkpoint on to the end once more.

    What the first training left lies in the same folder: that this one trained and wrote a model
    shows elsewhere than in equal weights.
    """
    run = RunDir(settings["output_dir"])
    events, written = len(run.read_events()), _written(run)
    train(**settings, resume_from_checkpoint=f"checkpoint-{step}")
    again = run.read_events()[events:]
    steps = [event["step"] for event in again if event["type"] == "step"]
    assert steps[0] == step + 1
    assert again[-1]["type"] == "done"
    assert all(before < after for before, after in zip(written, _written(run), strict=True))
    return run


def _written(run: RunDir) -> list[int]:
    return [path.stat().st_mtime_ns for path in sorted(run.model.rglob("*.safetensors"))]


def refused(capsys: pytest.CaptureFixture[str], **settings: Any) -> str:
    """What a training says that refuses to start: exit code 2 and no traceback."""
    code = main(flags(**settings))
    said = capsys.readouterr().err
    assert code == 2, said
    assert "Traceback" not in said
    return said


def start(
    settings: dict[str, Any], env: dict[str, str] | None = None, code: Path = ROOT
) -> subprocess.Popen[str]:
    """Start a training in a process group of its own, with the package that lies in `code`."""
    return subprocess.Popen(
        [sys.executable, "-m", "memshield.train", *flags(**settings)],
        cwd=code,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def start_ranks(
    settings: dict[str, Any], count: int = 2, last_code: Path = ROOT, **of_one: dict[str, Any]
) -> list[subprocess.Popen[str]]:
    """Start the processes of a run as a launcher does, but without one to watch over them.

    Args:
        settings: of all ranks.
        count: number of ranks.
        last_code: where the package of the last rank lies.
        of_one: settings of one rank only, as `rank_1={...}`.
    """
    port = free_port()
    return [
        start(
            {**settings, **of_one.get(f"rank_{rank}", {})},
            {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(count),
                "LOCAL_WORLD_SIZE": str(count),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "ACCELERATE_USE_CPU": "true",
            },
            last_code if rank == count - 1 else ROOT,
        )
        for rank in range(count)
    ]


def finish_ranks(settings: dict[str, Any], count: int = 2) -> tuple[RunDir, str]:
    """Run the processes of a run to their end; what rank 0 printed."""
    processes = start_ranks(settings, count)
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * count, "\n".join(said)
    return RunDir(settings["output_dir"]), said[0]


def launch(settings: dict[str, Any], file: str) -> subprocess.Popen[str]:
    """`accelerate launch` with one of configs/accelerate, in a process group of its own."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "accelerate.commands.launch"),
            *("--config_file", f"configs/accelerate/{file}.yaml"),
            *("-m", "memshield.train", *flags(**settings)),
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def launch_on_machines(*folders: Path, **settings: Any) -> list[subprocess.Popen[str]]:
    """`accelerate launch` as it is typed on each of several machines, one process each.

    Args:
        folders: the output_dir, as each machine sees it.
        settings: of all of them.
    """
    count = str(len(folders))
    machines = ["--num_machines", count, "--num_processes", count]
    machines += ["--main_process_ip", "127.0.0.1", "--main_process_port", str(free_port())]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", *machines]
    return [
        subprocess.Popen(
            [
                *command, "--machine_rank", str(rank),
                "-m", "memshield.train", *flags(**settings, output_dir=folder),
            ],
            cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )
        for rank, folder in enumerate(folders)
    ]  # fmt: skip


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_step(
    run: RunDir, step: int, process: subprocess.Popen[str], limit: float = 60
) -> None:
    """Wait until a checkpoint at or after `step` is there."""
    deadline = time.monotonic() + limit
    while not any(done >= step for done in run.checkpoints()):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no checkpoint in time"
        time.sleep(0.002)


def kill(process: subprocess.Popen[str], number: signal.Signals = signal.SIGKILL) -> str:
    """Signal the whole group and wait; what it printed."""
    os.killpg(process.pid, number)
    return process.communicate(timeout=60)[0]


def weights(run: RunDir) -> dict[str, Tensor]:
    """All tensors of a run's final model."""
    found = {}
    for path in sorted(run.model.rglob("*.safetensors")):
        for name, tensor in load_file(path).items():
            found[f"{path.relative_to(run.model)}:{name}"] = tensor
    assert found
    return found
