"""The denoisers of published models in their true sizes, built on the meta device.

`published_models.json` holds what the model's own config.json says. A model of another class is a
further entry there.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import nn

from memshield.config.file import make_config
from memshield.families import lora

MODELS: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("published_models.json").read_text(encoding="utf-8")
)


def config_of(name: str) -> dict[str, Any]:
    """The denoiser's own config."""
    return dict(MODELS[name]["unet"])


def build(name: str, device: str = "meta") -> nn.Module:
    """The denoiser of a published model, with random weights where the device is a real one."""
    config = config_of(name)
    with torch.device(device):
        model: nn.Module = getattr(diffusers, config["_class_name"]).from_config(config)
    return model


@cache
def with_lora(name: str, rank: int = 4) -> nn.Module:
    """The same on the meta device, with a LoRA on it."""
    model = build(name)
    values = {"pretrained_model_name_or_path": "x", "train_data_dir": "x"}
    config = make_config({**values, "rank": rank, "lora_alpha": rank})
    lora.attach(model, config, torch.float32)
    return model
