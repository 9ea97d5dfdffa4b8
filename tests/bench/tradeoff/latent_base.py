"""A small Stable Diffusion of emoji and their captions, for LoRAs to be trained on.

Its pictures are those of the kinds that no run has, with their variants in skin tone. The
autoencoder learns from them first; the text encoder stays random, which tells words apart;
`memshield.train` then trains the UNet on them in full and plainly.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from memshield.rundir import RunDir
from memshield.train import main as train
from tests.bench.tradeoff.autoencoder import autoencoder_of
from tests.bench.tradeoff.regimes import Pool, Regime
from tests.trained_runs import flags

STEPS, BATCH = 4000, 32
TOKENS, WIDTH = 24, 64
UNET: dict[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 1,
    "block_out_channels": (64, 96),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 8,
    "attention_head_dim": 4,  # which diffusers takes for the number of heads
    "cross_attention_dim": WIDTH,
}
SCHEDULE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "skip_prk_steps": True,
    "steps_offset": 1,
}


def latent_base(regime: Regime, pool: Pool, data: Path, work: Path) -> Path:
    """The trained pipeline; a training that was cut off goes on."""
    folder = work / f"base-{regime.fine_tuned}"
    done = RunDir(folder / "run").model
    if done.is_dir():
        return done
    pictures = _pictures(regime, pool, data / regime.dataset)
    table = folder / "pictures.parquet"
    if not table.is_file():
        pictures.write(pictures.reserved, table)
    settings = {
        "pretrained_model_name_or_path": _untrained(regime, pictures, folder / "untrained"),
        "training": "full",
        "dataset_name": table,
        "resolution": regime.resolution,
        "held_out_fraction": 0.0,
        "proportion_empty_prompts": 0.1,
        "num_shards": 1,
        "skip_threshold": 0,
        "num_rounds": 4,
        "max_train_steps": STEPS,
        "train_batch_size": BATCH,
        "learning_rate": 1e-3,
        "lr_scheduler": "cosine",
        "lr_warmup_steps": 100,
        "adam_weight_decay": 0.0,
        "use_ema": True,
        "ema_decay": 0.995,
        "mixed_precision": "bf16",
        "checkpoints_total_limit": 1,
        "num_validation_images": 0,
        "output_dir": folder / "run",
    }
    assert train(flags(**settings)) == 0
    return done


def _pictures(regime: Regime, pool: Pool, path: Path) -> Pool:
    rows = np.flatnonzero(~np.isin(pool.labels, regime.classes or ()))
    return Pool.with_variants(path, set(pool.table["base"].take(rows).to_pylist()))


def _untrained(regime: Regime, pictures: Pool, folder: Path) -> Path:
    """The pipeline before its UNet is trained, whole or not there."""
    from diffusers import PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    if folder.is_dir():
        return folder
    pixels = pictures.pixels(pictures.reserved, regime.resolution, regime.channels)
    vae = autoencoder_of(pixels)
    tokenizer = _tokenizer(pictures.table["text"].to_pylist())
    torch.manual_seed(0)
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=_text_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(**UNET, sample_size=regime.resolution // 4),
        scheduler=PNDMScheduler(**SCHEDULE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    aside = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    pipeline.save_pretrained(aside)
    aside.rename(folder)
    for left in folder.parent.glob(f"{folder.name}.*.tmp"):
        shutil.rmtree(left)
    return folder


def _tokenizer(captions: list[str]) -> Any:
    """Byte pairs merged until every word of these captions is one token."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    bare = CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[])
    learned = bare.train_new_from_iterator(sorted(set(captions)), vocab_size=10_000)
    learned.model_max_length = TOKENS
    return learned


def _text_encoder(tokenizer: Any) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    ).eval()
