"""LoRA through peft: attaching it to a UNet, and writing it so that every loader agrees."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers.training_utils import cast_training_params
from diffusers.utils import convert_state_dict_to_diffusers, convert_unet_state_dict_to_peft
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor, nn

from memshield.config.file import Config
from memshield.digests import LORA
from memshield.families.saved import wrong_weights

TARGETS = ("to_k", "to_q", "to_v", "to_out.0")
"""The attention projections, as in diffusers' train_text_to_image_lora."""


def attach(unet: nn.Module, config: Config) -> None:
    """Freeze a UNet and add a LoRA whose weights are trained in float32.

    B starts at zero and A at random, drawn with the seed.
    """
    unet.requires_grad_(False)
    torch.manual_seed(config.seed)
    unet.add_adapter(  # type: ignore[operator]
        LoraConfig(
            r=config.rank,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            init_lora_weights="gaussian",
            target_modules=list(TARGETS),
        )
    )
    cast_training_params(unet, dtype=torch.float32)


def exported_state(unet: nn.Module, config: Config) -> dict[str, Tensor]:
    """The LoRA as diffusers writes it, with its scale folded into B.

    Loaders that ignore or predate the alpha entry then apply the same update as those that
    read it.
    """
    state = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    scale = _scale(config)
    return {name: value * scale if is_up(name) else value.clone() for name, value in state.items()}


@torch.no_grad()
def load_exported(unet: nn.Module, config: Config, folder: Path) -> None:
    """Put a LoRA that was saved back into the one that is attached: `exported_state` undone.

    Raises:
        UserError: there is none in the folder, or one of another shape.
    """
    path = folder / LORA
    saved = load_file(path) if path.is_file() else {}
    state = convert_unet_state_dict_to_peft(
        {name.removeprefix("unet."): value for name, value in saved.items()}
    )
    live = get_peft_model_state_dict(unet)
    if {n: v.shape for n, v in state.items()} != {n: v.shape for n, v in live.items()}:
        raise wrong_weights(folder)
    scale = _scale(config)
    for name, value in live.items():
        value.copy_(state[name] / scale if is_up(name) else state[name])


def _scale(config: Config) -> float:
    return float(config.lora_alpha or config.rank) / config.rank


def is_up(name: str) -> bool:
    """Whether a tensor is a B (up-projection), in peft's or diffusers' spelling."""
    return ".lora_B." in name or ".lora.up." in name


def pairs(names: list[str]) -> list[tuple[str, str]]:
    """(A, B) names of peft's trainable parameters that belong together.

    Raises:
        ValueError: an A without its B.
    """
    found = [(name, name.replace(".lora_A.", ".lora_B.")) for name in names if ".lora_A." in name]
    if sorted(name for pair in found for name in pair) != sorted(names):
        raise ValueError("trainable parameters that are no LoRA pair")
    return found
