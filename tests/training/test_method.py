"""The whole method against naive twins: a plain diffusers loop, and K deep copies of a model."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel, compute_snr
from torch import Tensor, nn

from memshield.config.file import Config, make_config
from memshield.data.batches import MicroBatch, PictureReader, ShardBatches, captions_of
from memshield.data.encodings import LiveEncoder
from memshield.data.requirements import budget_of
from memshield.data.scan import scan
from memshield.data.source import SourceSettings, open_source
from memshield.families import load, read_facts, resolve
from memshield.families.base import Family, Placement
from memshield.randomness import Purpose, torch_seed
from tests.tiny import unet_config
from tests.trained_runs import digits, train, weights

EPSILON = 1e-4
"""AdamW divides by the gradient's size: some biases have none but rounding, which a larger
epsilon keeps small, so that the comparison can be tight."""


class Twin:
    """The parts of a run, for loops written out plainly."""

    def __init__(self, settings: dict[str, Any]) -> None:
        config = make_config({name: _plain(value) for name, value in settings.items()})
        facts = read_facts(config)
        self.config: Config = resolve(config, facts)
        self.family: Family = load(
            self.config, facts, Placement(torch.device("cpu"), torch.float32)
        )
        source = open_source(SourceSettings.of(self.config))
        self.examples = scan(self.config, source).examples
        reader = PictureReader(
            source, self.examples, facts.channels, int(self.config.resolution or 0), False
        )
        self.batches = [
            ShardBatches(self.config, self.examples, k, reader)
            for k in range(self.config.num_shards)
        ]
        self.budget = budget_of(self.config, self.examples)
        captions = captions_of(source, self.examples) if facts.needs_captions else None
        self.encoder = LiveEncoder(self.family, captions)

    def prepare_step(
        self, shard: int, step: int, batch: MicroBatch, generator: torch.Generator | None = None
    ) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
        """(encoded, clean, noise, timesteps) exactly as the run draws them."""
        encoded = self.encoder.encode(batch)
        if generator is None:
            generator = self.generator(shard, step)
        draw = self.family.draw(encoded, generator)
        return encoded, draw.clean, draw.noise, draw.level

    def generator(self, shard: int, step: int) -> torch.Generator:
        seed = torch_seed(self.config.seed, Purpose.NOISE, shard, step)
        return torch.Generator().manual_seed(seed)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def plain_optimizer(config: Config, parameters: list[nn.Parameter]) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        parameters,
        lr=config.learning_rate,
        betas=(config.adam_beta1, config.adam_beta2),
        weight_decay=config.adam_weight_decay,
        eps=config.adam_epsilon,
    )


def assert_same_model(run_weights: dict[str, Tensor], expected: nn.Module, prefix: str) -> None:
    for name, tensor in expected.state_dict().items():
        assert torch.allclose(run_weights[f"{prefix}{name}"], tensor, rtol=1e-4, atol=2e-6), name


def test_plain_settings_equal_a_plain_diffusers_loop(tmp_path: Path) -> None:
    """train_unconditional.py written out: noise, predict, mse, clip, step, schedule, EMA."""
    settings = digits(
        tmp_path / "run",
        unet_config(tmp_path),
        num_shards=1,
        skip_threshold=0,
        num_rounds=2,
        max_train_steps=12,
        lr_scheduler="cosine",
        lr_warmup_steps=3,
        use_ema=True,
        adam_epsilon=EPSILON,
    )
    run = train(**settings)
    twin = Twin(settings)
    unet, config = twin.family.network, twin.config
    optimizer = plain_optimizer(config, list(unet.parameters()))
    schedule = get_scheduler("cosine", optimizer, num_warmup_steps=3, num_training_steps=12)
    ema = EMAModel(unet.parameters(), decay=config.ema_decay)
    scheduler = twin.family.process.scheduler  # type: ignore[attr-defined]
    unet.train()
    for step in range(12):
        (batch,) = twin.batches[0][step]
        _, clean, noise, t = twin.prepare_step(0, step, batch)
        predicted = unet(scheduler.add_noise(clean, noise, t), t).sample
        F.mse_loss(predicted, noise).backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), config.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        ema.step(unet.parameters())
    ema.copy_to(unet.parameters())
    assert_same_model(weights(run), unet, "unet/diffusion_pytorch_model.safetensors:")


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_stable_diffusion_with_min_snr_equals_the_script(
    tmp_path: Path, tiny_sd: Path, captioned: Path, prediction_type: str
) -> None:
    """train_text_to_image.py written out, with --snr_gamma 5."""
    settings: dict[str, Any] = {
        "pretrained_model_name_or_path": tiny_sd,
        "prediction_type": prediction_type,
        "train_data_dir": captioned,
        "training": "full",
        "num_shards": 1,
        "skip_threshold": 0,
        "num_rounds": 1,
        "max_train_steps": 6,
        "train_batch_size": 4,
        "learning_rate": 1e-3,
        "snr_gamma": 5.0,
        "adam_epsilon": EPSILON,
        "num_validation_images": 0,
        "output_dir": tmp_path / "run",
    }
    run = train(**settings)
    twin = Twin(settings)
    unet = twin.family.network
    optimizer = plain_optimizer(twin.config, list(unet.parameters()))
    scheduler = twin.family.process.scheduler  # type: ignore[attr-defined]
    unet.train()
    for step in range(6):
        (batch,) = twin.batches[0][step]
        encoded, clean, noise, t = twin.prepare_step(0, step, batch)
        target = noise
        if prediction_type == "v_prediction":
            target = scheduler.get_velocity(clean, noise, t)
        predicted = unet(scheduler.add_noise(clean, noise, t), t, encoded["text"]).sample
        snr = compute_snr(scheduler, t)
        ratio = torch.stack([snr, 5.0 * torch.ones_like(t)], dim=1).min(dim=1)[0]
        ratio = ratio / snr if prediction_type == "epsilon" else ratio / (snr + 1)
        loss = F.mse_loss(predicted, target, reduction="none").mean(dim=[1, 2, 3]) * ratio
        loss.mean().backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    assert_same_model(weights(run), unet, "unet/diffusion_pytorch_model.safetensors:")


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_method_equals_copies_of_a_model(tmp_path: Path, accumulation: int) -> None:
    """IET-AGC with K models, K optimizers, a bank in a Python loop and a mean in a Python sum."""
    settings = digits(
        tmp_path / "run",
        unet_config(tmp_path),
        num_shards=3,
        num_rounds=3,
        max_train_steps=40,
        checkpointing_steps=1000,
        train_batch_size=4,
        gradient_accumulation_steps=accumulation,
        # High enough to skip often in so short a run, whole batches too.
        skip_threshold=1.0,
        loss_bank_bins=2,
        loss_ema_decay=0.5,
        use_ema=True,
        ema_decay=0.9,
        adam_epsilon=EPSILON,
    )
    run = train(**settings)
    twin = Twin(settings)
    config, scheduler = twin.config, twin.family.process.scheduler  # type: ignore[attr-defined]
    aggregate = twin.family.network
    sizes = twin.examples.shard_sizes()
    models = [copy.deepcopy(aggregate) for _ in sizes]
    optimizers = [plain_optimizer(config, list(m.parameters())) for m in models]
    averages = [EMAModel(m.parameters(), decay=0.9) for m in models]
    banks = [[0.0, 0.0] for _ in sizes]
    taken = [0] * len(sizes)
    draws = np.zeros(len(twin.examples), dtype=int)
    skips = np.zeros(len(twin.examples), dtype=int)
    all_skipped = 0
    for row in twin.budget.steps:
        for k, model in enumerate(models):
            model.train()
            for _ in range(row[k]):
                generator = twin.generator(k, taken[k])
                kept, seen = [], []
                for batch in twin.batches[k][taken[k]]:
                    _, clean, noise, t = twin.prepare_step(k, taken[k], batch, generator)
                    predicted = model(scheduler.add_noise(clean, noise, t), t).sample
                    for i, index in enumerate(batch.index.tolist()):
                        loss = F.mse_loss(predicted[i], noise[i])
                        slot = int(t[i]) * 2 // 1000
                        draws[index] += 1
                        if loss.item() >= banks[k][slot]:
                            kept.append(loss)
                        else:
                            skips[index] += 1
                        seen.append((slot, loss.item()))
                for slot, value in seen:
                    banks[k][slot] = 0.5 * banks[k][slot] + 0.5 * value
                taken[k] += 1
                if not kept:
                    all_skipped += 1
                    continue
                torch.stack(kept).mean().backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizers[k].step()
                optimizers[k].zero_grad()
                averages[k].step(model.parameters())
        share = [size / sum(sizes) for size in sizes]
        with torch.no_grad():
            for together in zip(*(m.parameters() for m in models), strict=True):
                mean = torch.stack([w * p for w, p in zip(share, together, strict=True)]).sum(0)
                for parameter in together:
                    parameter.copy_(mean)
            for together in zip(*(a.shadow_params for a in averages), strict=True):
                mean = torch.stack([w * p for w, p in zip(share, together, strict=True)]).sum(0)
                for shadow in together:
                    shadow.copy_(mean)
    assert skips.sum() > 0
    if accumulation == 1:
        assert all_skipped > 0, "the case of a batch without any kept sample must occur"
    averages[0].copy_to(aggregate.parameters())
    assert_same_model(weights(run), aggregate, "unet/diffusion_pytorch_model.safetensors:")

    import pyarrow.parquet as pq

    recorded = pq.read_table(run.skips).to_pydict()
    assert recorded["index"] == twin.examples.members().tolist()
    assert recorded["draws"] == draws[recorded["index"]].tolist()
    assert recorded["skips"] == skips[recorded["index"]].tolist()
