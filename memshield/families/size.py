"""How large a model is, without fetching its weights: built on the meta device."""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel, UNet2DModel

from memshield.config.file import Config
from memshield.families import lora
from memshield.families.facts import TEXT_ENCODERS, Facts


def network_parameters(facts: Facts) -> int:
    """Number of weights of the network that is trained or carries the LoRA."""
    kind = UNet2DModel if facts.family == "unconditional" else UNet2DConditionModel
    with torch.device("meta"):
        return sum(p.numel() for p in kind.from_config(facts.unet).parameters())


def trainable_parameters(config: Config, facts: Facts) -> int:
    """Number of weights that are trained under a resolved config."""
    with torch.device("meta"):
        if facts.family == "unconditional":
            unet = UNet2DModel.from_config(facts.unet)
        else:
            unet = UNet2DConditionModel.from_config(facts.unet)
            if config.training == "lora":
                lora.attach(unet, config)
    return sum(p.numel() for p in unet.parameters() if p.requires_grad)


def frozen_bytes(config: Config, facts: Facts) -> int:
    """Bytes of the frozen parts that a full save carries along; 0 for LoRAs and pixel models."""
    if config.training == "lora" or facts.repository is None:
        return 0
    total = 0
    for part in facts.components:
        repository, folder, variant = facts.repository, part, config.variant
        if part == "vae" and facts.vae_repository is not None:
            repository, folder, variant = facts.vae_repository, "", None
        if part != "unet":
            files = repository.component_files(folder, variant)
            total += sum(repository.files.get(file, 0) for file in files)
    return total


def encoded_bytes(config: Config, facts: Facts) -> tuple[int, int]:
    """Bytes of one picture's and one caption's encoding, in float32."""
    if facts.repository is None or not facts.needs_captions:
        return 0, 0
    encoders = [
        facts.repository.json(f"{name}/config.json") for name in TEXT_ENCODERS[facts.family]
    ]
    side = int(config.resolution or facts.resolution) // facts.multiple_of
    picture = 2 * int(facts.vae.get("latent_channels", 4)) * side * side
    tokens = int(encoders[0]["max_position_embeddings"])
    caption = tokens * sum(int(encoder["hidden_size"]) for encoder in encoders)
    if facts.family == "stable_diffusion_xl":
        picture += 6  # size and crop
        caption += int(encoders[-1]["projection_dim"])
    return picture * 4, caption * 4
