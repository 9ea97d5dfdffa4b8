"""Small models and pictures, written without torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

PIXELS: dict[str, Any] = {
    "model_index.json": {
        "_class_name": "DDPMPipeline",
        "unet": ["diffusers", "UNet2DModel"],
        "scheduler": ["diffusers", "DDPMScheduler"],
    },
    "unet/config.json": {
        "_class_name": "UNet2DModel",
        "sample_size": 8,
        "in_channels": 3,
        "out_channels": 3,
        "down_block_types": ["DownBlock2D", "DownBlock2D"],
    },
    "scheduler/scheduler_config.json": {"_class_name": "DDPMScheduler"},
}
TEXT: dict[str, Any] = {
    "model_index.json": {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "scheduler": ["diffusers", "PNDMScheduler"],
    },
    "unet/config.json": {"_class_name": "UNet2DConditionModel", "sample_size": 8},
    "vae/config.json": {"_class_name": "AutoencoderKL", "block_out_channels": [8, 16]},
    "text_encoder/config.json": {},
    "scheduler/scheduler_config.json": {"_class_name": "PNDMScheduler"},
}
WEIGHTS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}


def model(folder: Path, files: dict[str, Any], license: str | None = "mit") -> Path:
    """A pipeline whose weights are one number each."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    for part, name in WEIGHTS.items():
        if (folder / part).is_dir():
            save_file({"one": np.ones(1, np.float32)}, folder / part / f"{name}.safetensors")
    if license is not None:
        (folder / "README.md").write_text(f"---\nlicense: {license}\n---\n")
    return folder


def picture(seed: int, size: int = 8) -> Image.Image:
    """Distinct and smooth."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((size, size), Image.Resampling.BILINEAR)


def pictures(folder: Path, seeds: Sequence[int], captions: bool = False, size: int = 8) -> Path:
    """A folder of one picture a seed."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, seed in enumerate(seeds):
        picture(seed, size).save(folder / f"{place:03d}.png")
    if captions:
        lines = [
            json.dumps({"file_name": f"{place:03d}.png", "text": f"number {seed}"})
            for place, seed in enumerate(seeds)
        ]
        (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder
