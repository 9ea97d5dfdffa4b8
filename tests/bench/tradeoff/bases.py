"""What is fine-tuned: models that the bench trains itself, on pictures that no run has."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from memshield.rundir import RunDir, write_text
from memshield.train import main as train
from tests.bench.tradeoff.latent_base import latent_base
from tests.bench.tradeoff.regimes import UNET, Pool, Regime
from tests.trained_runs import flags

SAMPLES, BATCH = 160_000, 32


def write_unet(regime: Regime, folder: Path) -> Path:
    """Config of a small UNet for a regime's pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "unet.json"
    channels = {"in_channels": regime.channels, "out_channels": regime.channels}
    write_text(path, json.dumps({**UNET, **channels, "sample_size": regime.resolution}))
    return path


def base_of(regime: Regime, pool: Pool, data: Path, work: Path) -> Path:
    """The model that a regime fine-tunes."""
    if regime.fine_tuned == "emoji":
        return latent_base(regime, pool, data, work)
    return _pixel_base(regime, pool, work)


def _pixel_base(regime: Regime, pool: Pool, work: Path) -> Path:
    """A pixel UNet trained plainly on the other classes; a training that was cut off goes on."""
    folder = work / f"base-{regime.fine_tuned}"
    done = RunDir(folder / "run").model
    if done.is_dir():
        return done
    rows = np.concatenate([pool.free, pool.reserved])
    rows = rows[~np.isin(pool.labels[rows], regime.classes or ())]
    pictures = folder / "pictures.parquet"
    if not pictures.is_file():
        pool.write(rows, pictures)
    settings = {
        "model_config_name_or_path": write_unet(regime, folder),
        "dataset_name": pictures,
        "held_out_fraction": 0.0,
        "num_shards": 1,
        "skip_threshold": 0,
        "num_rounds": 4,
        "max_train_steps": SAMPLES // BATCH,
        "train_batch_size": BATCH,
        "learning_rate": 1e-3,
        "lr_scheduler": "cosine",
        "lr_warmup_steps": 100,
        "adam_weight_decay": 0.0,
        "use_ema": True,
        "ema_decay": 0.995,
        "mixed_precision": "bf16",
        "checkpoints_total_limit": 1,
        "output_dir": folder / "run",
    }
    assert train(flags(**settings)) == 0
    return done
