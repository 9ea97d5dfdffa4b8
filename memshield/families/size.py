"""How large a model is, without fetching its weights: built on the meta device."""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel, UNet2DModel

from memshield.config import Config
from memshield.families import lora
from memshield.families.facts import Facts
from memshield.families.repository import weight_patterns


def trainable_parameters(config: Config, facts: Facts) -> int:
    """Number of weights that are trained under a resolved config."""
    with torch.device("meta"):
        if facts.family == "unconditional":
            unet = UNet2DModel.from_config(facts.unet)
        else:
            unet = UNet2DConditionModel.from_config(facts.unet)
            if config.training == "lora":
                lora.attach(unet, config, torch.float32)
    return sum(p.numel() for p in unet.parameters() if p.requires_grad)


def frozen_bytes(config: Config, facts: Facts) -> int:
    """Bytes of the frozen parts that a full save carries along."""
    if facts.family == "unconditional" or config.training == "lora" or facts.repository is None:
        return 0
    parts = ("vae", "text_encoder", "safety_checker")
    return facts.repository.size(
        pattern for part in parts for pattern in weight_patterns(part, config.variant)
    )


def encoded_bytes(config: Config, facts: Facts) -> tuple[int, int]:
    """Bytes of one picture's and one caption's encoding, in float32."""
    if facts.repository is None or not facts.needs_captions:
        return 0, 0
    vae = (
        facts.vae_repository.json("config.json")
        if facts.vae_repository is not None
        else facts.repository.json("vae/config.json")
    )
    text = facts.repository.json("text_encoder/config.json")
    side = int(config.resolution or facts.resolution) // facts.multiple_of
    picture = 2 * int(vae["latent_channels"]) * side * side * 4
    return picture, int(text["max_position_embeddings"]) * int(text["hidden_size"]) * 4
