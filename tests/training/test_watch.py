"""The held-out loss watched by noise level: the checks, and trainings that heed them."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from memshield.audit.subject import watch_of
from memshield.audit.watch_record import WatchRecord
from memshield.config.file import make_config, read_yaml
from memshield.data.examples import Examples
from memshield.rundir import RunDir
from memshield.training.anti_gradient import HeldOutBank
from memshield.training.checkpoint import Checkpoint, stream
from memshield.training.replica import Replica
from memshield.training.teacher import Teacher
from memshield.training.watch import band_edges, batches_of_one_size, fixed_draws
from tests.tiny import unet_config
from tests.trained_runs import (
    digits,
    finish_ranks,
    kill,
    refused,
    start,
    train,
    wait_for_step,
    weights,
)
from tests.training.test_method import Twin

PREFIX = "unet/diffusion_pytorch_model.safetensors:"
WATCHING: dict[str, Any] = {
    "max_train_samples": 100,
    "watch_fraction": 0.2,
    "watch_bins": 3,
    "watch_draws": 8,
    "watch_checks": 8,
}
# A few members, a high rate and no patience: bands stop within a few steps. A large epsilon keeps
# rounding from being multiplied.
STOPPING: dict[str, Any] = {
    **WATCHING,
    "max_train_samples": 40,
    "watch_fraction": 0.5,
    "stop_levels": True,
    "stop_patience": 1,
    "learning_rate": 1e-2,
    "adam_epsilon": 1e-3,
}


def record_of(run: RunDir) -> WatchRecord:
    found = WatchRecord.read(run.watch)
    assert found is not None
    return found


# The fixed draws


def test_bands_hold_the_slots_that_fall_into_them() -> None:
    for slots, bands in ((1000, 10), (100, 7), (1000, 3)):
        edges = band_edges(slots, bands)
        assert edges[0] == 0
        assert edges[-1] == slots
        for slot in range(slots):
            band = slot * bands // slots
            assert edges[band] <= slot < edges[band + 1]


def test_draws_are_spread_over_pictures_and_levels() -> None:
    pictures = torch.arange(100, 130)
    found = fixed_draws(pictures, 1000, 10, 60, 0)
    assert sorted(set(found.picture.tolist())) == pictures.tolist()
    slots = found.slot.view(10, 60)
    for band, drawn in enumerate(slots):
        assert band * 100 <= int(drawn.min())
        assert int(drawn.max()) < (band + 1) * 100
        # One in each sixtieth of the band.
        places = ((drawn - band * 100).double() * 60 / 100).sort().values
        assert float((places - torch.arange(60)).abs().max()) < 1.7
    again = fixed_draws(pictures, 1000, 10, 60, 0)
    assert torch.equal(found.slot, again.slot)
    assert torch.equal(found.picture, again.picture)
    assert not torch.equal(found.slot, fixed_draws(pictures, 1000, 10, 60, 1).slot)


def test_draws_of_a_size_are_predicted_in_full_batches() -> None:
    sizes = torch.tensor([2, 0, 0, 2, 1, 0, 2, 0, 0, 2, 2])
    batches = batches_of_one_size(sizes, 2)
    assert [batch.tolist() for batch in batches] == [[1, 2], [5, 7], [8], [4], [0, 3], [6, 9], [10]]
    (whole, *rest) = batches_of_one_size(torch.zeros(11, dtype=torch.int64), 4)
    assert whole.tolist() == [0, 1, 2, 3]
    assert [batch.tolist() for batch in rest] == [[4, 5, 6, 7], [8, 9, 10]]


# The held-out bank


def test_the_held_out_bank_keeps_what_a_loop_keeps() -> None:
    generator = torch.Generator().manual_seed(0)
    slots = torch.randint(0, 1000, (200,), generator=generator)
    losses = 1 / (1 + slots / 100) + 0.05 * torch.rand(200, generator=generator)
    bank = HeldOutBank(1000)
    batch = torch.randint(0, 1000, (50,), generator=generator)
    values = torch.rand(50, generator=generator)
    assert bool(bank.keep(values, batch, 0.9).all()), "nothing is known before the first check"
    bank.learn(2 * losses.double(), slots)
    assert bool(bank.keep(values, batch, 0.9).all()), "how fast it falls is not known yet"
    bank.learn(losses.double(), slots)
    order = sorted(range(200), key=lambda i: int(slots[i]))
    knots = [order[i : i + HeldOutBank.KNOT] for i in range(0, 200, HeldOutBank.KNOT)]
    levels = [np.mean([int(slots[i]) for i in knot]) for knot in knots]
    means = [np.mean([float(losses[i]) for i in knot]) for knot in knots]
    kept = []
    for value, slot in zip(values.tolist(), batch.tolist(), strict=True):
        if slot <= levels[0]:
            reference = means[0]
        elif slot >= levels[-1]:
            reference = means[-1]
        else:
            place = max(i for i in range(len(levels)) if levels[i] <= slot)
            share = (slot - levels[place]) / (levels[place + 1] - levels[place])
            reference = (1 - share) * means[place] + share * means[place + 1]
        kept.append(value >= 0.9 * reference / 2)  # it halved, and may halve again
    assert bank.keep(values, batch, 0.9).tolist() == kept
    assert 0 < sum(kept) < 50
    assert bool(bank.keep(values, batch, 0.0).all())
    known = HeldOutBank(1000)
    known.load_state_dict({"table": bank.curve})  # as earlier versions wrote it
    known.learn(losses.double(), slots)
    assert torch.equal(known.table, bank.curve)
    bank.learn(3 * losses.double(), slots)  # memorization begins: the loss itself counts
    assert torch.equal(bank.table, bank.curve)


# Ensembles, processes, LoRA


def ensemble(folder: Path, unet: Path, **changes: Any) -> dict[str, Any]:
    return digits(
        folder, unet, num_shards=2, num_rounds=8, max_train_steps=96, use_ema=True,
        ema_decay=0.8, checkpointing_steps=1000, **{**STOPPING, **changes},
    )  # fmt: skip


def test_an_ensemble_has_one_watch_for_its_aggregate(tmp_path: Path) -> None:
    run = train(**ensemble(tmp_path / "run", unet_config(tmp_path)))
    record = record_of(run)
    ends = [event["step"] for event in run.read_events() if event["type"] == "round"]
    assert [check.step for check in record.checks] == [0, *ends]
    assert any(step is not None for step in record.stopped)
    events = [event for event in run.read_events() if event["type"] == "watch"]
    assert [event["losses"] for event in events] == [list(c.losses) for c in record.checks]
    assert events[-1]["stopped"] == list(record.stopped)


@pytest.mark.process
@pytest.mark.slow
def test_two_processes_watch_the_same(tmp_path: Path) -> None:
    unet = unet_config(tmp_path)
    alone = train(**ensemble(tmp_path / "alone", unet))
    together, _ = finish_ranks(ensemble(tmp_path / "together", unet))
    first, second = record_of(alone), record_of(together)
    assert first.stopped == second.stopped
    for one, other in zip(first.checks, second.checks, strict=True):
        assert one.losses == pytest.approx(other.losses, rel=1e-4)
    for name, tensor in weights(alone).items():
        assert torch.allclose(tensor, weights(together)[name], rtol=1e-3, atol=1e-5), name


@pytest.mark.parametrize("cached", [True, False])
def test_a_lora_has_a_snapshot_for_a_teacher(
    tmp_path: Path, tiny_sd: Path, captioned: Path, cached: bool
) -> None:
    run = train(
        pretrained_model_name_or_path=tiny_sd,
        train_data_dir=captioned,
        held_out_fraction=0.0,
        watch_fraction=0.85,
        watch_bins=2,
        watch_draws=16,
        watch_checks=8,
        stop_levels=True,
        stop_patience=1,
        stop_gain=0,
        cache_latents=cached,
        num_shards=1,
        num_rounds=2,
        max_train_steps=16,
        train_batch_size=2,
        learning_rate=1.0,
        num_validation_images=0,
        checkpointing_steps=1,
        output_dir=tmp_path / "run",
    )
    record = record_of(run)
    assert any(step is not None for step in record.stopped)
    differs = False
    for step in run.checkpoints():
        saved = Checkpoint.read(run, step)
        if not saved.has("teacher"):
            continue
        teacher = dict(stream(saved.path("teacher")))
        assert teacher
        assert all(".lora_" in name for name in teacher)
        live = dict(stream(saved.path("proxy-0" if saved.has("proxy-0") else "start")))
        differs |= any(not torch.equal(live[name], tensor) for name, tensor in teacher.items())
    assert differs, "the network trains on, its snapshot does not"


# Going on


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_saved_teacher_predicts_the_same_bits(tmp_path: Path, channels_last: bool) -> None:
    """Kernels sum in an order that follows from where tensors begin and from their strides."""
    unet = unet_config(tmp_path)
    twin = Twin(digits(tmp_path / "run", unet, channels_last=channels_last))
    family = twin.family
    replica = Replica(family.trainable(), twin.config)
    teacher, resumed = Teacher(family, replica), Teacher(family, replica)
    teacher.copy()
    file = tmp_path / "teacher.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in teacher.state.items()}, file)
    resumed.load(dict(stream(file)))
    for name, tensor in resumed.state.items():
        assert tensor.stride() == teacher.state[name].stride(), name
        assert tensor.data_ptr() % 64 == 0, name
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):  # a lone sample is where the order differs
        encoded = {"pixels": torch.randn(1, 1, 8, 8, generator=generator)}
        draw = family.draw(encoded, generator)
        assert torch.equal(resumed.predict(encoded, draw), teacher.predict(encoded, draw))


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize("shards", [1, 2])
def test_a_killed_run_ends_with_the_same_bits(tmp_path: Path, shards: int) -> None:
    unet = unet_config(tmp_path)
    settings: dict[str, Any] = {
        **STOPPING, "num_shards": shards, "num_rounds": 12, "max_train_steps": 240,
        "watch_checks": 12, "checkpointing_steps": 3, "use_ema": True, "ema_decay": 0.8,
        "loss_bank_reference": "held_out",
    }  # fmt: skip
    reference = train(**digits(tmp_path / "whole", unet, **settings))
    assert any(step is not None and step < 200 for step in record_of(reference).stopped)
    cut = digits(tmp_path / "cut", unet, **settings)
    run = RunDir(cut["output_dir"])
    for step in (20, 110, 205):
        process = start(cut)
        wait_for_step(run, step, process)
        kill(process, signal.SIGKILL)
    train(**cut)
    for name, tensor in weights(reference).items():
        assert torch.equal(tensor, weights(run)[name]), name
    assert record_of(run) == record_of(reference)


def test_other_bands_are_refused_on_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = digits(tmp_path / "run", unet_config(tmp_path), **STOPPING)
    train(**settings)
    said = refused(capsys, **{**settings, "watch_bins": 4})
    assert "watch_bins: 4, there 3" in said


# Too few pictures


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stop_levels": True, "watch_fraction": 0.1}, "stop_levels needs at least 20"),
        ({"stop_levels": True, "watch_fraction": 0.0}, "0 of 60 are watched"),
        ({"loss_bank_reference": "held_out", "watch_fraction": 0.3}, "held_out needs at least 20"),
    ],
)
def test_a_set_too_small_to_watch_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], words: str
) -> None:
    said = refused(capsys, **digits(tmp_path / "run", unet_config(tmp_path), **changes))
    assert "watch_fraction" in said
    assert words in said


def test_by_default_a_tenth_is_watched_and_at_least_twenty(tmp_path: Path) -> None:
    run = train(
        **digits(
            tmp_path / "run", unet_config(tmp_path), num_shards=1, max_train_samples=150,
            stop_levels=True, watch_checks=1, num_rounds=1, max_train_steps=3,
        )
    )  # fmt: skip
    record = record_of(run)
    assert record.pictures == 20
    assert json.loads(run.watch.read_text())["bounds"] == pytest.approx(list(record.bounds))


def test_what_an_attempt_that_came_to_nothing_left_is_not_the_next_ones(tmp_path: Path) -> None:
    """It failed before its first checkpoint; the same folder then takes other settings."""
    settings = digits(tmp_path / "run", unet_config(tmp_path), num_shards=1, num_rounds=1,
                      max_train_steps=4, max_train_samples=120)  # fmt: skip
    watched = train(**settings, stop_levels=True)
    left = {name: (watched.path / name).read_bytes() for name in ("watch.json", "events.jsonl")}
    shutil.rmtree(watched.path)
    watched.path.mkdir()
    for name, data in left.items():
        (watched.path / name).write_bytes(data)
    # A start that was refused after the scan leaves pictures of duplicates.
    watched.duplicates.mkdir()
    (watched.duplicates / "01-near-first.png").write_bytes(b"")
    (watched.path / ".config.yaml.1.tmp").touch()
    (watched.path / "watch.json").rename(tmp_path / "watch.json")
    run = train(**settings)
    assert not run.watch.exists() and not run.duplicates.exists()
    # Nor does an audit take one for its own that watched nothing.
    (tmp_path / "watch.json").rename(run.watch)
    config = make_config(read_yaml(run.config))
    assert watch_of(run, config, Examples.read(run.examples), None) is None
