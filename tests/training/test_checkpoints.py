"""Checkpoints of a run: which are kept, and what comes back with one that is gone back to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from memshield.rundir import RunDir
from memshield.training.checkpoint import Checkpoint, discard_after
from tests.tiny import unet_config
from tests.trained_runs import digits, go_back, train, weights


@pytest.fixture
def unet(tmp_path: Path) -> Path:
    return unet_config(tmp_path / "unet")


def assert_same_bits_from(step: int, settings: dict[str, Any]) -> RunDir:
    """Train to the end, and from a checkpoint to the end again."""
    run = train(**settings)
    before = weights(run)
    run.status.unlink()
    go_back(step, settings)
    for name, tensor in weights(run).items():
        assert torch.equal(tensor, before[name])
    return run


def test_checkpoints_total_limit_and_linked_files(tmp_path: Path, unet: Path) -> None:
    every = train(**digits(tmp_path / "every", unet, checkpointing_steps=2))
    assert every.checkpoints() == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24]
    # Steps 1 to 4 are shard 0's, 5 to 8 shard 1's: at 6 shard 0 is as it was at 4.
    at_4, at_6 = (every.checkpoint(step) / "shard-0.safetensors" for step in (4, 6))
    assert at_4.samefile(at_6)
    start, begun = every.checkpoint(8) / "start.safetensors", every.checkpoint(12)
    assert start.samefile(begun / "start.safetensors")
    few = train(**digits(tmp_path / "few", unet, checkpointing_steps=2, checkpoints_total_limit=2))
    assert few.checkpoints() == [22, 24]
    for name, tensor in weights(every).items():
        assert torch.equal(tensor, weights(few)[name])


def test_going_back_to_a_named_checkpoint(tmp_path: Path, unet: Path) -> None:
    assert_same_bits_from(9, digits(tmp_path / "run", unet))


def test_what_follows_a_checkpoint_is_gone_with_it(tmp_path: Path, unet: Path) -> None:
    settings = digits(tmp_path / "run", unet)
    run = train(**settings)
    for number in (1, 2):
        (run.audit_of(number)).mkdir(parents=True)
    ends = [Checkpoint.read(run, step) for step in run.checkpoints()]
    first = next(found for found in ends if found.round == 1 and not found.places)
    later = [f"checkpoint-{step}" for step in run.checkpoints() if step > first.step]
    rounds = [f"round {number}" for number in run.round_numbers()[1:]]
    assert discard_after(run, first) == later + rounds
    assert later and rounds
    assert max(run.checkpoints()) == first.step
    assert run.round_numbers() == [1]
    assert run.audit_of(1).is_dir() and not run.audit_of(2).exists()


def test_a_run_killed_before_it_wrote_its_record_has_it_after_a_resume(
    tmp_path: Path, unet: Path
) -> None:
    settings = digits(tmp_path / "run", unet)
    run = train(**settings)
    record = pq.read_table(run.skips)
    run.status.unlink()
    run.skips.unlink()
    train(**settings)
    assert pq.read_table(run.skips) == record


# Moments between turns


def test_moments_on_disk_give_the_same_bits(tmp_path: Path, unet: Path) -> None:
    in_memory = train(**digits(tmp_path / "cpu", unet))
    settings = digits(tmp_path / "disk", unet, shard_optimizer_offload="disk")
    on_disk = train(**settings)
    for name, tensor in weights(in_memory).items():
        assert torch.equal(tensor, weights(on_disk)[name])
    assert not on_disk.moments.exists()
    on_disk.status.unlink()
    go_back(12, settings)
    for name, tensor in weights(in_memory).items():
        assert torch.equal(tensor, weights(on_disk)[name])


@pytest.mark.parametrize("offload", ["cpu", "disk"])
def test_kept_moments_fit_channels_last_parameters(
    tmp_path: Path, unet: Path, offload: str
) -> None:
    settings = digits(tmp_path / "run", unet, channels_last=True, shard_optimizer_offload=offload)
    assert_same_bits_from(9, settings)


@pytest.mark.parametrize("back", [4, 6])
def test_reset_moments_do_not_come_back_with_a_checkpoint(
    tmp_path: Path, unet: Path, back: int
) -> None:
    """Step 4 ends a shard's turn: its moments are still there when that is saved."""
    settings = digits(tmp_path / "run", unet, shard_optimizer="reset", checkpointing_steps=2)
    run = assert_same_bits_from(back, settings)
    assert not [
        name
        for name in load_file(run.checkpoint(6) / "shard-0.safetensors")
        if name.startswith("optimizer.")
    ]
