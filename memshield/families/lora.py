"""LoRA through peft: attaching it to a network, and writing it so that every loader agrees."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import _collate_lora_metadata, cast_training_params
from diffusers.utils import convert_state_dict_to_diffusers, convert_unet_state_dict_to_peft
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from memshield.config.file import Config
from memshield.digests import LORA
from memshield.errors import UserError
from memshield.families.facts import Facts
from memshield.families.kinds import LORA_TARGETS, FamilyName
from memshield.families.saved import wrong_weights

_METADATA = "lora_adapter_metadata"


def targets_of(facts: Facts) -> list[str]:
    """Ends of the names of the layers that carry a LoRA."""
    return targets_in(facts.family, facts.network)


def targets_in(family: FamilyName, network: Mapping[str, Any]) -> list[str]:
    """The same, from a family and the config of its network."""
    found = list(LORA_TARGETS[family])
    if family == "flux2_klein":
        # As `to_out` alone they would be those of the other blocks too.
        singles = range(int(network.get("num_single_layers", 0)))
        found += [f"single_transformer_blocks.{i}.attn.to_out" for i in singles]
    return found


def attach(network: nn.Module, config: Config, targets: Sequence[str]) -> None:
    """Freeze a network and add a LoRA whose weights are trained in float32.

    B starts at zero and A at random, drawn with the seed.

    Args:
        network: that carries it.
        config: rank, lora_alpha, lora_dropout and the seed.
        targets: ends of the names of the layers that carry it.

    Raises:
        UserError: the network has none of the layers.
    """
    network.requires_grad_(False)
    ends = tuple(f".{target}" for target in targets)
    if not any(f".{name}".endswith(ends) for name, _ in network.named_modules()):
        raise UserError(
            "pretrained_model_name_or_path",
            f"its {type(network).__name__} has none of the layers that carry a LoRA "
            f"({', '.join(targets)})",
            "Choose a model of the usual architecture, or set training to full.",
        )
    torch.manual_seed(config.seed)
    network.add_adapter(  # type: ignore[operator]
        LoraConfig(
            r=config.rank,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            init_lora_weights="gaussian",
            target_modules=list(targets),
        )
    )
    cast_training_params(network, dtype=torch.float32)


def save_transformer(
    pipeline_class: Any, transformer: nn.Module, config: Config, folder: Path
) -> None:
    """Write a transformer's LoRA with its metadata, and with its scale folded into B."""
    state, scale = get_peft_model_state_dict(transformer), _scale(config)
    folded = {n: value * scale if is_up(n) else value.clone() for n, value in state.items()}
    metadata = _collate_lora_metadata({"transformer": transformer})
    # Loaders that read the metadata then apply what those do that ignore it.
    metadata["transformer_lora_adapter_metadata"]["lora_alpha"] = config.rank
    pipeline_class.save_lora_weights(folder, transformer_lora_layers=folded, **metadata)


@torch.no_grad()
def load_transformer(transformer: nn.Module, config: Config, folder: Path) -> None:
    """Put a saved LoRA, ours or one that diffusers wrote, into the one that is attached.

    Raises:
        UserError: there is none in the folder, or one of another shape.
    """
    path = folder / LORA
    saved = load_file(path) if path.is_file() else {}
    state = {name.removeprefix("transformer."): value for name, value in saved.items()}
    live = get_peft_model_state_dict(transformer)
    if {n: v.shape for n, v in state.items()} != {n: v.shape for n, v in live.items()}:
        raise wrong_weights(folder)
    scale = _saved_scale(path) / _scale(config)
    for name, value in live.items():
        value.copy_(state[name] * scale if is_up(name) else state[name])


def _saved_scale(path: Path) -> float:
    """lora_alpha / r of a file, by its metadata; 1 where it has none."""
    with safe_open(path, framework="pt") as file:
        written = json.loads((file.metadata() or {}).get(_METADATA, "{}"))
    rank = written.get("transformer.r")
    return 1.0 if not rank else float(written.get("transformer.lora_alpha", rank)) / rank


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


@torch.no_grad()
def fuse(pipeline: Any, folder: Path, file: str) -> None:
    """Add a LoRA of any trainer to the weights of a stock pipeline, for good.

    Raises:
        UserError: it does not fit the pipeline.
    """
    try:
        pipeline.load_lora_weights(folder, weight_name=file, use_safetensors=True)
        found = pipeline.get_list_adapters()
        if found:
            pipeline.fuse_lora(components=list(found))
            pipeline.unload_lora_weights()
    except (ValueError, RuntimeError, KeyError, IndexError) as error:
        raise _unfit(file, " ".join(str(error).split())[:200]) from None
    if not found:
        # It would be the base that is looked at.
        raise _unfit(file, "none of its weights belongs to a part of this pipeline")


def _unfit(file: str, why: str) -> UserError:
    return UserError(
        "base", f"{file} does not fit this base: {why}", "Name the pipeline that it was trained on."
    )
