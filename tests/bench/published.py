"""Published models in their true sizes: on the meta device, or with random weights.

`published_models.json` holds what a model's own config.json says of its denoiser, its number of
weights, and the recipe that it is trained by here. Another model is a further entry there.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import nn

from memshield.config.file import Config, make_config, read_yaml
from memshield.families import lora
from memshield.families.kinds import PIPELINES, FamilyName
from tests.bench.common import ROOT

MODELS: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("published_models.json").read_text(encoding="utf-8")
)


def family_of(name: str) -> FamilyName:
    """The family that trains a model."""
    return PIPELINES[MODELS[name]["pipeline"]]


def recipe_of(name: str) -> Config:
    """The recipe of a model, as it stands in its file."""
    return make_config(read_yaml(ROOT / MODELS[name]["recipe"]))


def build(name: str, **changes: Any) -> nn.Module:
    """The denoiser of a model, on the meta device; `changes` of its config make it smaller."""
    config = {**MODELS[name]["network"], **changes}
    with torch.device("meta"):
        model: nn.Module = getattr(diffusers, config["_class_name"]).from_config(config)
    return model


@cache
def with_lora(name: str, rank: int = 4) -> nn.Module:
    """The same with a LoRA on it."""
    model = build(name)
    values = {"pretrained_model_name_or_path": "x", "train_data_dir": "x"}
    config = make_config({**values, "rank": rank, "lora_alpha": rank})
    lora.attach(model, config, lora.targets_in(family_of(name), MODELS[name]["network"]))
    return model


def random_denoiser(name: str, **changes: Any) -> nn.Module:
    """The same with random weights in bfloat16, on the host."""
    denoiser = build(name, **changes).to(torch.bfloat16).to_empty(device="cpu")
    _fill(denoiser)
    return denoiser


def write_random(name: str, folder: Path) -> Path:
    """A pipeline whose denoiser has its true size and random weights, in bfloat16.

    Its encoders are as wide as the denoiser needs, and otherwise small.
    """
    from tests import tiny

    xl = family_of(name) == "stable_diffusion_xl"
    parts = tiny.sdxl_components() if xl else tiny.sd_components()
    denoiser = random_denoiser(name)
    widths = {"text_encoder": 768 if xl else int(MODELS[name]["network"]["cross_attention_dim"])}
    if xl:
        widths["text_encoder_2"] = 1280
    for part, width in widths.items():
        kind = type(parts[part])
        parts[part] = kind(tiny.text_config(width, projection_dim=width))
    parts |= {"unet": denoiser, "vae": tiny.small_vae(levels=4)}
    pipeline = getattr(diffusers, MODELS[name]["pipeline"])
    settings = {} if xl else {
        "safety_checker": None, "feature_extractor": None, "requires_safety_checker": False,
    }  # fmt: skip
    pipeline(**parts, **settings).save_pretrained(folder)
    return folder


@torch.no_grad()
def _fill(model: nn.Module) -> None:
    """Small random numbers, the same ones over and over: billions of them would take minutes."""
    noise = torch.randn(2**22, generator=torch.Generator().manual_seed(0)).mul_(0.02)
    for name, tensor in model.state_dict().items():
        flat = tensor.view(-1)
        if "norm" in name and tensor.ndim == 1:  # not the modulation of an adaptive one
            flat.fill_(float(name.endswith("weight")))
            continue
        for part in flat.split(len(noise)):
            part.copy_(noise[: len(part)])
