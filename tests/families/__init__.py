"""Tests of memshield.families, and how they load and sample models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from memshield.config.file import Config, make_config
from memshield.families import Facts, load, read_facts, resolve
from memshield.families.base import Family, Placement

SHORT: dict[str, Any] = {
    "num_shards": 2,
    "num_rounds": 2,
    "max_train_steps": 4,
    "train_batch_size": 4,
    "learning_rate": 1e-2,
    "num_validation_images": 2,
    "num_inference_steps": 2,
}


def sample(pipeline: Any, prompt: str | None = None) -> Image.Image:
    pipeline.set_progress_bar_config(disable=True)
    words = {"prompt": prompt} if prompt is not None else {}
    generator = torch.Generator().manual_seed(0)
    (image,) = pipeline(num_inference_steps=2, generator=generator, **words).images
    assert isinstance(image, Image.Image)
    assert np.isfinite(np.asarray(image)).all()
    return image


def looked_up(base: Path, data: Path, **settings: Any) -> tuple[Config, Facts]:
    """The resolved config and the facts of a model, without its weights."""
    values = {"pretrained_model_name_or_path": str(base), "train_data_dir": str(data), **settings}
    config = make_config(values)
    facts = read_facts(config)
    return resolve(config, facts), facts


def loaded(base: Path, data: Path, dtype: torch.dtype = torch.float32, **settings: Any) -> Family:
    """A family on the CPU, a LoRA unless the settings say otherwise."""
    config, facts = looked_up(base, data, **settings)
    return load(config, facts, Placement(torch.device("cpu"), dtype))
