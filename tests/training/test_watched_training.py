"""Trainings that heed a watch, against loops written out plainly."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from memshield.data.batches import PictureReader, micro_batch
from memshield.data.source import SourceSettings, open_source
from memshield.randomness import Purpose, torch_seed
from memshield.training.anti_gradient import HeldOutBank
from memshield.training.watch import fixed_draws
from tests.tiny import unet_config
from tests.trained_runs import digits, train, weights
from tests.training.test_method import EPSILON, Twin, assert_same_model, plain_optimizer
from tests.training.test_watch import PREFIX, STOPPING, WATCHING, record_of


class PlainWatch:
    """Checks, stops and a teacher, with deep copies and Python loops."""

    def __init__(self, twin: Twin) -> None:
        config = twin.config
        self.twin = twin
        pictures = torch.from_numpy(twin.examples.watched())
        bands, draws = config.watch_bins, config.watch_draws
        found = fixed_draws(pictures, 1000, bands, draws, config.seed)
        self.slots = found.slot
        reader = PictureReader(open_source(SourceSettings.of(config)), twin.examples, 1, 8, False)
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
        going = []
        for band in range(len(found)):
            if self.stopped[band] is not None:
                continue
            best = self.best[band]
            knows = best is not None and best.mean() < self.zeros[band]
            if best is None or not knows or found[band].mean() < best.mean():
                best = self.best[band] = found[band]
                self.raised[band] = 0
            else:
                risen = self.has_risen(band, found[band] - best, float(best.mean()))
                self.raised[band] = self.raised[band] + 1 if risen else 0
            if best.mean() < self.zeros[band]:
                going.append(band)
        for highest in going[:2]:
            if self.raised[highest] >= self.twin.config.stop_patience:
                for band in range(highest + 1):
                    if self.stopped[band] is None:
                        self.stopped[band] = step
                self.teacher = copy.deepcopy(model).eval()

    def has_risen(self, band: int, rise: Tensor, best: float) -> bool:
        by_picture: dict[int, float] = {}
        for name, value in zip(self.pictures[band].tolist(), rise.tolist(), strict=True):
            by_picture[name] = by_picture.get(name, 0.0) + value - float(rise.mean())
        count = len(by_picture)
        error = math.sqrt(count / (count - 1) * sum(v * v for v in by_picture.values()))
        return float(rise.mean()) > max(0.002 * best, 2 * error / len(rise))


@pytest.mark.parametrize("use_ema", [True, False])
def test_levels_stopped_equal_a_model_and_its_frozen_copy(tmp_path: Path, use_ema: bool) -> None:
    settings = digits(
        tmp_path / "run",
        unet_config(tmp_path, dropout=0.2),
        num_shards=1,
        num_rounds=2,
        max_train_steps=60,
        checkpointing_steps=1000,
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
    settings = {
        **WATCHING,
        "num_shards": 1,
        "num_rounds": 1,
        "max_train_steps": 8,
        "skip_threshold": 0,
        "use_ema": True,
    }
    unet = unet_config(tmp_path)
    plain = train(**digits(tmp_path / "plain", unet, **settings))
    watched = train(
        **digits(tmp_path / "watched", unet, loss_bank_reference="held_out", **settings)
    )
    assert not plain.watch.exists()
    assert len(record_of(watched).checks) == 9
    for name, tensor in weights(plain).items():
        assert torch.equal(tensor, weights(watched)[name]), name
