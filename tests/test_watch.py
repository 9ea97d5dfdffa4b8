"""The held-out loss watched by noise level: the checks, and trainings that heed them."""

from __future__ import annotations

import copy
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from memshield.anti_gradient import HeldOutBank
from memshield.checkpoint import Checkpoint
from memshield.data.batches import PictureReader, micro_batch
from memshield.data.source import open_source
from memshield.randomness import Purpose, torch_seed
from memshield.replica import stream
from memshield.rundir import RunDir
from memshield.watch import band_edges, fixed_draws
from memshield.watch_record import WatchRecord
from tests.runs import digits, finish_ranks, kill, refused, start, train, wait_for_step, weights
from tests.test_method import EPSILON, Twin, assert_same_model, plain_optimizer
from tests.tiny import unet_config

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


# The held-out bank


def test_the_held_out_bank_keeps_what_a_loop_keeps() -> None:
    generator = torch.Generator().manual_seed(0)
    slots = torch.randint(0, 1000, (200,), generator=generator)
    losses = 1 / (1 + slots / 100) + 0.05 * torch.rand(200, generator=generator)
    bank = HeldOutBank(1000)
    batch = torch.randint(0, 1000, (50,), generator=generator)
    values = torch.rand(50, generator=generator)
    assert bool(bank.keep(values, batch, 0.9).all()), "nothing is known before the first check"
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
        kept.append(value >= 0.9 * reference)
    assert bank.keep(values, batch, 0.9).tolist() == kept
    assert 0 < sum(kept) < 50
    assert bool(bank.keep(values, batch, 0.0).all())


# Whole trainings against loops written out plainly


class PlainWatch:
    """Checks, stops and a teacher, with deep copies and Python loops."""

    def __init__(self, twin: Twin) -> None:
        config = twin.config
        self.twin = twin
        pictures = torch.from_numpy(twin.examples.watched())
        bands, draws = config.watch_bins, config.watch_draws
        found = fixed_draws(pictures, 1000, bands, draws, config.seed)
        self.slots = found.slot
        reader = PictureReader(open_source(config), twin.examples, 1, 8, False)
        encoded, noise = [], []
        for begin in range(0, bands * draws, config.train_batch_size):
            chosen = found.picture[begin : begin + config.train_batch_size].numpy()
            pixels = twin.encoder.encode(micro_batch(reader, twin.examples, chosen))["pixels"]
            generator = torch.Generator().manual_seed(torch_seed(config.seed, Purpose.WATCH, begin))
            encoded.append(pixels)
            noise.append(torch.randn(pixels.shape, generator=generator))
        self.pixels, self.noise = torch.cat(encoded), torch.cat(noise)
        self.best: list[Tensor | None] = [None] * bands
        self.raised = [0] * bands
        self.pictures = found.picture.view(bands, draws)
        self.zeros = self.noise.square().mean(dim=(1, 2, 3)).view(bands, draws).mean(dim=1)
        self.stopped: list[int | None] = [None] * bands
        self.teacher: nn.Module | None = None

    @torch.no_grad()
    def losses(self, model: nn.Module) -> Tensor:
        scheduler = self.twin.family.process.scheduler  # type: ignore[attr-defined]
        model.eval()
        values = []
        for pixels, noise, slot in zip(self.pixels, self.noise, self.slots, strict=True):
            noisy = scheduler.add_noise(pixels[None], noise[None], slot[None])
            values.append(F.mse_loss(model(noisy, slot[None]).sample, noise[None]).double())
        model.train()
        return torch.stack(values).view(self.pictures.shape)

    def check(self, model: nn.Module, step: int) -> None:
        """`model` holds the weights that would be saved."""
        found = self.losses(model)
        stopping = []
        for band in range(len(found)):
            if self.stopped[band] is not None:
                continue
            best = self.best[band]
            knows = best is not None and best.mean() < self.zeros[band]
            if best is None or not knows or found[band].mean() < best.mean():
                self.best[band], self.raised[band] = found[band], 0
                continue
            rise = found[band] - best
            by_picture: dict[int, float] = {}
            for name, value in zip(self.pictures[band].tolist(), rise.tolist(), strict=True):
                by_picture[name] = by_picture.get(name, 0.0) + value - float(rise.mean())
            count = len(by_picture)
            error = (count / (count - 1) * sum(v * v for v in by_picture.values())) ** 0.5
            limit = max(0.002 * float(best.mean()), 2 * error / len(rise))
            self.raised[band] = self.raised[band] + 1 if float(rise.mean()) > limit else 0
            if self.raised[band] >= self.twin.config.stop_patience:
                stopping.append(band)
        if stopping:
            for band in range(max(stopping)):
                best = self.best[band]
                if best is not None and best.mean() >= self.zeros[band]:
                    stopping.append(band)
            for band in stopping:
                if self.stopped[band] is None:
                    self.stopped[band] = step
            self.teacher = copy.deepcopy(model).eval()


@pytest.mark.parametrize("use_ema", [True, False])
def test_levels_stopped_equal_a_model_and_its_frozen_copy(tmp_path: Path, use_ema: bool) -> None:
    settings = digits(
        tmp_path / "run",
        unet_config(tmp_path, dropout=0.2),
        num_shards=1,
        num_rounds=2,
        max_train_steps=60,
        skip_threshold=0.9,
        loss_bank_bins=2,
        loss_ema_decay=0.5,
        use_ema=use_ema,
        ema_decay=0.8,
        **{**STOPPING, "learning_rate": 2e-2, "adam_epsilon": 1e-2},
    )
    run = train(**settings)
    twin = Twin(settings)
    config, scheduler = twin.config, twin.family.process.scheduler  # type: ignore[attr-defined]
    model = twin.family.network
    optimizer = plain_optimizer(config, list(model.parameters()))
    ema = EMAModel(model.parameters(), decay=0.8)
    watch = PlainWatch(twin)
    bank = [0.0, 0.0]

    def saved() -> nn.Module:
        copied = copy.deepcopy(model)
        if use_ema:
            ema.copy_to(copied.parameters())
        return copied

    model.train()
    watch.check(saved(), 0)
    taught = skipped = 0
    for step in range(60):
        (batch,) = twin.batches[0][step]
        _, clean, noise, t = twin.prepare_step(0, step, batch)
        noisy = scheduler.add_noise(clean, noise, t)
        torch.manual_seed(torch_seed(config.seed, Purpose.DROPOUT, 0, step))
        predicted = model(noisy, t).sample
        used, seen = [], []
        for i in range(len(t)):
            loss = F.mse_loss(predicted[i], noise[i])
            if watch.stopped[int(t[i]) * 3 // 1000] is not None:
                assert watch.teacher is not None
                with torch.no_grad():
                    target = watch.teacher(noisy[i : i + 1], t[i : i + 1]).sample[0]
                used.append(F.mse_loss(predicted[i], target))
                taught += 1
                continue
            slot = int(t[i]) * 2 // 1000
            if loss.item() >= 0.9 * bank[slot]:
                used.append(loss)
            else:
                skipped += 1
            seen.append((slot, loss.item()))
        for slot, value in seen:
            bank[slot] = 0.5 * bank[slot] + 0.5 * value
        if used:
            torch.stack(used).mean().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            ema.step(model.parameters())
        if (step + 1) * 8 // 60 > step * 8 // 60:
            watch.check(saved(), step + 1)
    assert taught > 0, "the case must occur"
    assert skipped > 0, "the case must occur"
    assert list(record_of(run).stopped) == watch.stopped
    assert None in watch.stopped or len({*watch.stopped}) > 1, "bands stop one by one"
    assert_same_model(weights(run), saved(), PREFIX)


def test_a_held_out_bank_skips_what_lies_under_the_held_out_loss(tmp_path: Path) -> None:
    settings = digits(
        tmp_path / "run",
        unet_config(tmp_path),
        num_shards=1,
        num_rounds=1,
        max_train_steps=24,
        skip_threshold=1.0,
        loss_bank_reference="held_out",
        adam_epsilon=EPSILON,
        **WATCHING,
    )
    run = train(**settings)
    twin = Twin(settings)
    config, scheduler = twin.config, twin.family.process.scheduler  # type: ignore[attr-defined]
    model = twin.family.network
    optimizer = plain_optimizer(config, list(model.parameters()))
    watch = PlainWatch(twin)
    bank = HeldOutBank(1000)
    bank.learn(watch.losses(model).flatten(), watch.slots)
    skips = 0
    for step in range(24):
        (batch,) = twin.batches[0][step]
        _, clean, noise, t = twin.prepare_step(0, step, batch)
        model.train()
        predicted = model(scheduler.add_noise(clean, noise, t), t).sample
        each = [F.mse_loss(predicted[i], noise[i]) for i in range(len(t))]
        kept = [loss for loss, slot in zip(each, t.tolist(), strict=True)
                if loss.item() >= float(bank.table[slot])]  # fmt: skip
        skips += len(each) - len(kept)
        if kept:
            torch.stack(kept).mean().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        if (step + 1) * 8 // 24 > step * 8 // 24:
            bank.learn(watch.losses(model).flatten(), watch.slots)
    assert 0 < skips < 24 * 4
    assert_same_model(weights(run), model, PREFIX)


def test_watching_alone_changes_nothing(tmp_path: Path) -> None:
    """A bank that is not asked (lambda 0) leaves a plain training as it is, bit for bit."""
    settings = {**WATCHING, "num_shards": 1, "skip_threshold": 0, "use_ema": True}
    unet = unet_config(tmp_path)
    plain = train(**digits(tmp_path / "plain", unet, **settings))
    watched = train(
        **digits(tmp_path / "watched", unet, loss_bank_reference="held_out", **settings)
    )
    assert not plain.watch.exists()
    assert len(record_of(watched).checks) == 9
    for name, tensor in weights(plain).items():
        assert torch.equal(tensor, weights(watched)[name]), name


# Ensembles, processes, LoRA


def ensemble(folder: Path, unet: Path, **changes: Any) -> dict[str, Any]:
    return digits(
        folder, unet, num_shards=2, num_rounds=8, max_train_steps=160, use_ema=True,
        ema_decay=0.8, **{**STOPPING, **changes},
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
        watch_checks=16,
        stop_levels=True,
        stop_patience=1,
        stop_gain=0,
        cache_latents=cached,
        num_shards=1,
        num_rounds=2,
        max_train_steps=32,
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


@pytest.mark.parametrize("shards", [pytest.param(1, marks=pytest.mark.slow), 2])
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
            stop_levels=True,
        )
    )  # fmt: skip
    record = record_of(run)
    assert record.pictures == 20
    assert json.loads(run.watch.read_text())["bounds"] == pytest.approx(list(record.bounds))
