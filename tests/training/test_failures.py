"""What a run that fails says, and what it leaves to go on from."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from memshield.config.file import make_config
from memshield.errors import UserError, UserErrors
from memshield.rundir import RunDir, reason_for_page
from memshield.train import _speak_for_rank_0
from memshield.training.failures import Failure, explain
from memshield.training.ranks import RankLostError
from memshield.training.step import NonFiniteLossError
from tests.tiny import unet_config
from tests.trained_runs import ROOT, digits, flags, train

# A child that has loaded everything may take only so much more.
LIMITED = """
import resource, sys
import psutil, torch, diffusers, accelerate, datasets
from memshield.train import main
import memshield.training.loop
room = int(sys.argv[1])
used = psutil.Process().memory_info().vms
resource.setrlimit(resource.RLIMIT_AS, (used + room, used + room))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.process
def test_out_of_memory_is_named_with_what_to_change(tmp_path: Path) -> None:
    unet = unet_config(tmp_path, sample_size=64, block_out_channels=[64, 128])
    settings = digits(tmp_path / "run", unet, train_batch_size=16, max_train_steps=6, num_shards=2)
    child = subprocess.run(
        [sys.executable, "-c", LIMITED, str(600 * 2**20), *flags(**settings)],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 1, child.stderr
    assert "Traceback" not in child.stderr
    run = RunDir(settings["output_dir"])
    status = run.read_status()
    assert (status["state"], status["error"]) == ("failed", "out_of_memory"), child.stderr
    reason = status["reason"]
    assert "out of memory" in reason
    order = ["gradient_checkpointing: true", "train_batch_size: 8", "resolution: 32"]
    places = [reason.index(words) for words in order]
    assert places == sorted(places)
    assert [e["error"] for e in run.read_events() if e["type"] == "error"] == ["out_of_memory"]
    assert run.checkpoints() == [0], "the checkpoint before is whole"
    # One of the remedies may be taken in the same folder.
    assert not [p for p in run.path.iterdir() if p.suffix == ".tmp"]


def savings(**settings: Any) -> str:
    needed = {"pretrained_model_name_or_path": "a/b", "dataset_name": "c/d", "training": "full"}
    config = make_config({**needed, "mixed_precision": "no", **settings})
    return explain(MemoryError(), config).reason


def test_what_is_used_already_is_not_advised() -> None:
    first = savings()
    for words in (
        "training: lora",
        "use_8bit_adam",
        "mixed_precision: bf16",
        "train_batch_size: 8",
    ):
        assert words in first
    assert first.index("training: lora") < first.index("gradient_checkpointing")
    rest = savings(
        training="lora", train_batch_size=1, mixed_precision="bf16", gradient_checkpointing=True
    )
    for words in ("training:", "use_8bit_adam", "bf16", "train_batch_size", "checkpointing"):
        assert words not in rest
    buckets = savings(resolution=512, aspect_ratio_buckets="512,512;512,1024")
    assert "resolution: 256, aspect_ratio_buckets: auto" in buckets
    assert "base_quantization" not in first and "base_quantization: int8" in rest
    assert "enable_layerwise_casting: true" in rest
    held = savings(training="lora", base_quantization="fp8", gradient_checkpointing=True)
    for words in ("base_quantization", "casting", "offload"):
        assert words not in held
    assert "use_8bit_adam" not in savings(use_adafactor=True)
    assert "use_ema: false" in savings(use_ema=True)
    assert "stop_levels: false" in savings(stop_levels=True)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), "out_of_memory"),
        (OSError(12, "Cannot allocate memory"), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out_of_memory"),
        (OSError(28, "No space left on device"), "disk_full"),
        (RuntimeError("CUDA error: out of memory\nCompile with..."), "out_of_memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling..."), "out_of_memory"),
        (NonFiniteLossError("the loss of step 3 of shard 0 is nan"), "diverged"),
        (RuntimeError("something else"), "crash"),
        (ValueError("bad"), "crash"),
    ],
)
def test_kinds_of_failures(error: Exception, kind: str) -> None:
    config = make_config({"model_config_name_or_path": "x", "dataset_name": "y"})
    assert explain(error, config).error == kind


def test_a_page_is_told_without_commands_and_names_of_settings() -> None:
    config = make_config({"model_config_name_or_path": "x", "dataset_name": "y"})
    full = explain(OSError(28, "No space left on device"), config)
    refused = explain(UserError("lr_scheduler", "it is x", "Set it to y."), config)
    lost = explain(RankLostError(), config)
    diverged = explain(NonFiniteLossError("the loss of step 3 of shard 0 is nan"), config)
    for failure in (full, refused, lost, diverged):
        assert failure.on_page is not None
        assert "_" not in failure.on_page and "command" not in failure.on_page
    assert refused.on_page == "lr scheduler: it is x. Set it to y."
    both = UserErrors([UserError("a_b", "c"), UserError("d", "e", "F.")])
    assert explain(both, config).on_page == "a b: c\nd: e. F."
    for field in ("/a/my_run", "HF_TOKEN"):
        assert UserError(field, "is gone").labelled == f"{field}: is gone"


def test_torchs_own_class_is_out_of_memory() -> None:
    import torch

    config = make_config({"model_config_name_or_path": "x", "dataset_name": "y"})
    failure = explain(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), config)
    assert failure.error == "out_of_memory"
    assert "the GPU" in failure.reason


def test_a_training_that_diverges_says_what_to_lower(tmp_path: Path) -> None:
    settings = digits(tmp_path / "run", unet_config(tmp_path), learning_rate=10)
    run = train(1, **{**settings, "max_grad_norm": 1e30, "max_train_steps": 240})
    assert run.read_status()["error"] == "diverged"
    assert "the loss" in run.read_status()["reason"]


def test_what_goes_back_each_time_is_said() -> None:
    """A config that names a checkpoint would delete what came after it, without end."""
    settings = {"pretrained_model_name_or_path": "a/b", "dataset_name": "c/d"}
    full = OSError(errno.ENOSPC, "No space left on device")
    for error in (full, RankLostError()):
        goes_on = explain(error, make_config(settings)).reason
        assert "The same command goes on from the last checkpoint." in goes_on
        back = make_config({**settings, "resume_from_checkpoint": "checkpoint-9"})
        goes_back = explain(error, back).reason
        assert "goes back to checkpoint-9 once more" in goes_back
        assert "With resume_from_checkpoint: latest" in goes_back


def test_a_rank_that_leaves_speaks_only_for_a_rank_0_that_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait while rank 0 lives, which would wait for it in turn."""
    run, failure = RunDir(tmp_path), Failure("rank_lost", "another process was lost", 1)
    status: dict[str, Any] = {"attempt": 1, "state": "running", "heartbeat": 1.0}

    def beat(seconds: float) -> None:
        status["heartbeat"] += seconds
        assert status["heartbeat"] < 100, "it waits for a rank that lives"
        run.status.write_text(json.dumps(status))

    beat(0)
    monkeypatch.setattr("memshield.train.time.sleep", beat)
    _speak_for_rank_0(run, 1, failure)
    assert run.read_status()["state"] == "running"
    monkeypatch.setattr("memshield.train.time.sleep", lambda seconds: None)
    _speak_for_rank_0(run, 2, failure)  # an attempt of somebody else's
    assert run.read_status()["state"] == "running"
    _speak_for_rank_0(run, 1, failure)
    lost = "rank 0 was lost: another process was lost"
    assert run.read_status()["reason"] == reason_for_page(run.read_status()) == lost


def test_a_start_that_comes_to_nothing_leaves_a_finished_run_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = digits(tmp_path / "run", unet_config(tmp_path), num_rounds=1, max_train_steps=2)
    run = train(**settings)
    before = run.read_status()
    written = run.config.read_text()

    def state() -> dict[str, Any]:
        now = run.read_status()
        return {name: now[name] for name in ("state", "reason", "error", "step", "total_steps")}

    expected = {name: before[name] for name in state()}
    with monkeypatch.context() as patched:
        patched.setattr("memshield.training.start.is_done", lambda *_: os.kill(os.getpid(), 15))
        train(expect=128 + signal.SIGTERM, **settings)
    assert state() == expected
    with monkeypatch.context() as patched:
        patched.setattr("memshield.training.start.is_done", lambda *_: 1 / 0)
        train(expect=1, **settings)
    assert state() == expected
    run.config.write_text(written + "no_such_setting: 1\n")
    capsys.readouterr()
    train(expect=2, **settings)
    assert "no_such_setting" in capsys.readouterr().err
    assert state() == expected
    run.config.write_text(written)
    assert train(**settings).read_status()["state"] == "done"
