"""Settings that save memory at the price of time or precision. Imports no torch."""

from __future__ import annotations

import importlib.util
from typing import Any, Literal

from memshield.config.schema import Settings, setting
from memshield.errors import UserError


class MemorySettings(Settings):
    """Memory"""

    base_quantization: Literal["nf4", "int8", "fp8"] | None = setting(
        None,
        "Hold the linear layers of a LoRA's frozen base in 4 bits (nf4, needs bitsandbytes and a "
        "GPU) or 8 (int8 and fp8, need torchao); the LoRA stays in float32.",
    )
    enable_layerwise_casting: bool = setting(
        False,
        "Store a LoRA's frozen base in 8-bit floats and cast each layer while it is used; needs "
        "gradient_checkpointing and no further package.",
    )
    enable_group_offload: bool = setting(
        False,
        "Keep a LoRA's frozen base in host memory and copy each layer to the GPU while it is "
        "used; needs gradient_checkpointing.",
        free=True,
    )
    use_adafactor: bool = setting(
        False,
        "Adafactor in place of AdamW: it keeps a row and a column of second moments a matrix, "
        "and no first ones.",
    )


FROZEN_ONLY = ("base_quantization", "enable_layerwise_casting", "enable_group_offload")
"""Settings of the frozen base under a LoRA."""
CHECKPOINTED = ("enable_layerwise_casting", "enable_group_offload")
"""Settings that save nothing while every layer is kept for the backward pass."""
_PACKAGES = {"nf4": "bitsandbytes", "int8": "torchao", "fp8": "torchao"}


def require_package(config: MemorySettings) -> None:
    """Refuse a quantization whose package is not there.

    Raises:
        UserError: naming it.
    """
    package = _PACKAGES.get(config.base_quantization or "")
    if package is not None and importlib.util.find_spec(package) is None:
        raise UserError(
            "base_quantization",
            f"{config.base_quantization} needs {package}, which is not installed",
            f"pip install {package}, or pip install '.[quantization]' in MemShield's folder.",
        )


def contradiction(config: MemorySettings) -> UserError | None:
    """The first of the settings that the others of a resolved config rule out."""
    own: Any = config  # also has the settings of the other groups
    for name in FROZEN_ONLY:
        if getattr(config, name) and own.training != "lora":
            return UserError(
                name,
                "it is for the frozen base under a LoRA, and full training changes every weight",
                "Leave it out, or set training to lora.",
            )
    for name in CHECKPOINTED:
        if getattr(config, name) and not own.gradient_checkpointing:
            return UserError(
                name,
                "it saves nothing while every layer is kept for the backward pass",
                "Set gradient_checkpointing to true as well.",
            )
        if getattr(config, name) and config.base_quantization is not None:
            return UserError(
                name,
                f"base_quantization is {config.base_quantization}: the base is held in one way",
                "Leave one of the two out.",
            )
        if getattr(config, name) and own.torch_compile:
            return UserError(
                name, "torch_compile does not see through it", "Leave one of them out."
            )
    if config.use_adafactor and own.use_8bit_adam:
        return UserError("use_adafactor", "use_8bit_adam asks for another optimizer", "Choose one.")
    return None
