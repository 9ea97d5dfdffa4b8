"""How large a model is, without fetching its weights: built on the meta device."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import diffusers
import torch

from memshield.config.buckets import most_pixels
from memshield.config.file import Config
from memshield.errors import UserError
from memshield.families import lora
from memshield.families.facts import Facts
from memshield.families.kinds import FLOW, OWN_LENGTHS, TEXT_ENCODERS

_TEMPLATE = 24
"""Tokens around a caption, at most; the caption itself has no more than it has bytes."""
_LENGTH = 8
_WRONG_CONFIG = (
    ValueError, TypeError, LookupError, AttributeError, ArithmeticError, NameError, RuntimeError
)  # fmt: skip
"""diffusers checks little of a config: a wrong value ends in whatever it first leads to."""


def require_buildable(config: Config, facts: Facts) -> None:
    """Refuse a model to train from scratch that diffusers cannot build from its config.

    Raises:
        UserError: in diffusers' own words.
    """
    if facts.repository is not None:
        return
    try:
        network_parameters(facts)
    except _WRONG_CONFIG as error:
        raise UserError(
            "model_config_name_or_path",
            f"no UNet2DModel can be built from {config.model_config_name_or_path}: {error}",
            "Mend the config.",
        ) from None


def network_parameters(facts: Facts) -> int:
    """Number of weights of the network that is trained or carries the LoRA."""
    with torch.device("meta"):
        network = _network_class(facts).from_config(facts.network)
    return sum(p.numel() for p in network.parameters())


def trainable_parameters(config: Config, facts: Facts) -> int:
    """Number of weights that are trained under a resolved config."""
    with torch.device("meta"):
        network = _network_class(facts).from_config(facts.network)
        if config.training == "lora":
            lora.attach(network, config, lora.targets_of(facts))
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def _network_class(facts: Facts) -> Any:
    if facts.family in FLOW:
        return getattr(diffusers, FLOW[facts.family].transformer)
    text = facts.needs_captions
    return diffusers.UNet2DConditionModel if text else diffusers.UNet2DModel


def frozen_bytes(config: Config, facts: Facts) -> int:
    """Bytes of the frozen parts that a full save carries along; 0 for LoRAs and pixel models."""
    if config.training == "lora" or facts.repository is None:
        return 0
    total = 0
    for part in facts.components:
        repository, folder, variant = facts.repository, part, config.variant
        if part == "vae" and facts.vae_repository is not None:
            repository, folder, variant = facts.vae_repository, "", None
        if part != facts.network_folder:
            files = repository.component_files(folder, variant)
            total += sum(repository.files.get(file, 0) for file in files)
    return total


def encoded_bytes(config: Config, facts: Facts, captions: Collection[str] = ()) -> tuple[int, int]:
    """Bytes of a picture's encoding, of the largest size, and of all captions' at most: float32."""
    if facts.repository is None or not facts.needs_captions:
        return 0, 0
    encoders = [
        facts.repository.json(f"{name}/config.json") for name in TEXT_ENCODERS[facts.family]
    ]
    pixels = most_pixels(config, int(config.resolution or facts.resolution))
    if facts.family in FLOW:
        latents = pixels // (facts.multiple_of // 2) ** 2  # its patches are 2 x 2 latents
        channels = int(facts.vae.get("latent_channels") or facts.vae.get("z_dim") or 16)
        return 2 * channels * latents * 4, _flow_captions(config, facts, encoders, captions)
    latents = pixels // facts.multiple_of**2
    picture = 2 * int(facts.vae.get("latent_channels", 4)) * latents
    tokens = int(encoders[0]["max_position_embeddings"])
    caption = tokens * sum(int(encoder["hidden_size"]) for encoder in encoders)
    if facts.family == "stable_diffusion_xl":
        picture += 6  # size and crop
        caption += int(encoders[-1]["projection_dim"])
    return picture * 4, caption * 4 * len(captions)


def _flow_captions(
    config: Config, facts: Facts, encoders: list[dict[str, Any]], captions: Collection[str]
) -> int:
    """Bytes of captions' encodings."""
    network, tokens = facts.network, int(config.max_sequence_length or 0)
    width = int(network.get("joint_attention_dim") or network.get("cap_feat_dim") or 0)
    if facts.family == "krea2":
        width = int(network["num_text_layers"]) * int(network["text_hidden_dim"])
    pooled = int(network.get("pooled_projection_dim") or 0)
    if facts.family == "stable_diffusion_3":
        tokens += int(encoders[0]["max_position_embeddings"])
    if facts.family not in OWN_LENGTHS:
        return (tokens * width + pooled) * 4 * len(captions)
    lengths = (min(tokens, len(caption.encode()) + _TEMPLATE) for caption in captions)
    return sum(length * width * 4 + _LENGTH for length in lengths)
