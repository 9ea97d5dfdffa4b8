"""Settings for the memory of a GPU, by family: `--preset 24gb`. No torch.

They follow from the estimate of `forecast.memory` for the recipes at 1024 px (512 px for Stable
Diffusion 1 and 2); nothing was measured on a GPU. configs/README.md has the figures.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from memshield.config.file import Config, make_config
from memshield.config.flags import merged
from memshield.config.memory import FROZEN_ONLY
from memshield.errors import UserError
from memshield.families.facts import read_facts
from memshield.families.kinds import FamilyName
from memshield.forecast.flavours import Hardware

_BATCH = ("train_batch_size", "gradient_accumulation_steps")

_CHECKPOINTED: Mapping[str, Any] = {
    "mixed_precision": "bf16",
    "gradient_checkpointing": True,
    "base_quantization": None,
    "enable_layerwise_casting": False,
    "enable_group_offload": False,
}
_FAST: Mapping[str, Any] = {**_CHECKPOINTED, "gradient_checkpointing": False}


def _up_to(batch: int, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings with the largest batch that fits with them."""
    return {**settings, "train_batch_size": batch}


_ONE = _up_to(1, _CHECKPOINTED)
_INT8 = {**_ONE, "base_quantization": "int8"}
_NF4 = {**_ONE, "base_quantization": "nf4"}
_OFFLOADED = {**_ONE, "enable_group_offload": True}
_FAST_ONE = _up_to(1, _FAST)

PRESETS: Mapping[str, Mapping[FamilyName, Mapping[str, Any]]] = MappingProxyType(
    {
        "12gb": {
            "stable_diffusion": _up_to(16, _CHECKPOINTED),
            "stable_diffusion_xl": _ONE,
            "flux": _OFFLOADED,
            "z_image": _NF4,
            "flux2_klein": _ONE,
            "krea2": _OFFLOADED,
        },
        "16gb": {
            "stable_diffusion": _up_to(16, _CHECKPOINTED),
            "stable_diffusion_xl": _ONE,
            "stable_diffusion_3": _ONE,
            "flux": _NF4,
            "z_image": _INT8,
            "flux2_klein": _ONE,
            "krea2": _OFFLOADED,
        },
        "24gb": {
            "stable_diffusion": _up_to(32, _CHECKPOINTED),
            "stable_diffusion_xl": _up_to(4, _CHECKPOINTED),
            "stable_diffusion_3": _up_to(8, _CHECKPOINTED),
            "flux": _INT8,
            "z_image": _ONE,
            "qwen_image": _NF4,
            "flux2_klein": _up_to(8, _CHECKPOINTED),
            "krea2": _NF4,
        },
        "80gb": {
            "stable_diffusion": _up_to(16, _FAST),
            "stable_diffusion_xl": _up_to(2, _FAST),
            "stable_diffusion_3": _up_to(4, _FAST),
            "flux": _FAST_ONE,
            "z_image": _FAST_ONE,
            "qwen_image": _up_to(4, _CHECKPOINTED),
            "flux2_klein": _up_to(4, _FAST),
            "krea2": _up_to(4, _CHECKPOINTED),
        },
    }
)
"""Settings by preset and family, with the largest batch; a family that is missing does not fit."""


def add_preset(parser: argparse.ArgumentParser) -> None:
    """Give a command that takes a training's settings the flag `--preset`."""
    parser.add_argument(
        "--preset",
        metavar="|".join(PRESETS),
        help="Settings that fit a LoRA into a GPU of that memory (estimated), by the model's "
        "family. They win over the file, flags win over them, and the samples a step stay the "
        "same. What it sets is shown.",
    )


def with_preset(given: Mapping[str, Any]) -> tuple[Config, str | None]:
    """A validated config from what a command line gives, and what its preset set, in words.

    Flags win over the preset, and the preset over the file.

    Args:
        given: by the names of the flags, with those of `config_parser` and `add_preset`.

    Raises:
        UserError: an unknown preset, or one that the model cannot use.
        UserErrors: every unknown name and broken rule.
    """
    flags = dict(given)
    preset = flags.pop("preset", None)
    values = merged(flags)
    if preset is None:
        return make_config(values), None
    if preset not in PRESETS:
        raise UserError("--preset", f"unknown preset {preset!r}", f"One of: {', '.join(PRESETS)}.")
    config = make_config(values)
    if config.training == "full":
        raise UserError(
            "--preset",
            "it is for LoRAs, and training is full",
            "Leave it out, or set training to lora.",
        )
    settings = settings_of(preset, read_facts(config).family, config, flags)
    shown = [
        f"{name}: {_shown(value)}"
        for name, value in settings.items()
        if value or value != getattr(config, name)
    ]
    return make_config({**values, **settings}), f"{preset} sets {', '.join(shown)}"


def require_fit(preset: str, hardware: Hardware) -> None:
    """Refuse a preset for more memory than a hardware's GPU has.

    Args:
        preset: as a person gives it; one that there is not is refused elsewhere.
        hardware: that is to train.

    Raises:
        UserError: naming the preset that fits.
    """
    if preset not in PRESETS or (
        hardware.has_gpu and preset_bytes(preset) <= hardware.memory_bytes
    ):
        return
    fitting = [name for name in PRESETS if preset_bytes(name) <= hardware.memory_bytes]
    if not hardware.has_gpu or not fitting:
        raise UserError(
            "--preset", f"it is for a GPU, and {hardware.name} has {hardware.device}",
            "Leave it out, or choose hardware with a GPU.",
        )  # fmt: skip
    raise UserError(
        "--preset", f"{preset} is more than {hardware.name} has: {hardware.device}",
        f"Choose {fitting[-1]}, or hardware with more memory.",
    )  # fmt: skip


def preset_bytes(preset: str) -> int:
    """The memory of the GPU that a preset is for."""
    return int(preset.removesuffix("gb")) * 10**9


def settings_of(
    preset: str, family: FamilyName, config: Config, flags: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The settings that a preset changes.

    Args:
        preset: one of `PRESETS`.
        family: of the model.
        config: of file and flags, without the preset.
        flags: settings that win over it.

    Raises:
        UserError: the model cannot use it.
    """
    if family == "unconditional":
        raise UserError(
            "--preset", "it is for LoRAs, and pixel models are trained in full", "Leave it out."
        )
    if family not in PRESETS[preset]:
        fitting = [name for name in PRESETS if family in PRESETS[name]]
        raise UserError(
            "--preset",
            f"this model ({family}) needs more memory than {preset} (estimated)",
            f"Choose one of: {', '.join(fitting)}.",
        )
    flags = flags or {}
    settings = dict(PRESETS[preset][family])
    # A smaller batch where it is too large, and as many samples a step.
    samples = config.train_batch_size * config.gradient_accumulation_steps
    largest = min(config.train_batch_size, settings["train_batch_size"])
    batch = next(size for size in range(largest, 0, -1) if samples % size == 0)
    settings |= {"train_batch_size": batch, "gradient_accumulation_steps": samples // batch}
    # Settings that only make sense together are left alone together.
    for together in (_BATCH, FROZEN_ONLY):
        if any(name in flags for name in together):
            settings = {n: value for n, value in settings.items() if n not in together}
    return {name: value for name, value in settings.items() if name not in flags}


def _shown(value: object) -> str:
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
