"""The frozen base under a LoRA in less memory: quantized, in 8-bit floats, or on the host.

diffusers' own hooks for the last two put other data behind a parameter after the forward pass.
The backward pass of a convolution, and every recomputation of a checkpointed block, then meet the
wrong weights. Here a layer reads its weight when it is called, as a tensor of its own, which
autograd keeps as long as it needs it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from memshield.config.file import Config
from memshield.config.memory import require_package
from memshield.errors import UserError

STORED = torch.float8_e4m3fn
"""The precision of weights that are cast while they are used."""
_KEPT = ("norm", "pos_embed", "patch_embed")
"""Parts of the names of layers that are too sensitive for it, as diffusers has them for any model;
a model may name more."""


def require_device(config: Config) -> None:
    """Refuse what needs a GPU where there is none.

    Raises:
        UserError: naming the setting.
    """
    if torch.cuda.is_available():
        return
    if config.base_quantization == "nf4":
        raise UserError(
            "base_quantization", "nf4 needs a GPU, and there is none", "Use int8, or leave it out."
        )
    if config.enable_group_offload:
        raise UserError(
            "enable_group_offload",
            "it keeps layers off a GPU, and there is none",
            "Leave it out: without a GPU all of them are in host memory anyway.",
        )


def quantized(config: Config, dtype: torch.dtype) -> dict[str, Any]:
    """Arguments of diffusers' `from_pretrained` that quantize the linear layers.

    Args:
        config: its `base_quantization`.
        dtype: of everything else, and of the products.

    Returns:
        {} without a quantization.

    Raises:
        UserError: its package is not there.
    """
    kind = config.base_quantization
    if kind is None:
        return {}
    require_package(config)
    from diffusers import BitsAndBytesConfig, TorchAoConfig

    how: Any
    if kind == "nf4":
        require_device(config)
        how = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
    else:
        from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig

        how = TorchAoConfig(
            Int8WeightOnlyConfig(version=2) if kind == "int8" else Float8WeightOnlyConfig()
        )
    return {"quantization_config": how}


def hold(network: nn.Module, config: Config, device: torch.device, channels_last: bool) -> None:
    """Take the frozen weights of linear and convolutional layers out of a network.

    They are stored in 8-bit floats or on the host, as the settings say; a layer reads its own
    when it is called. What is left of the network moves as before.

    Args:
        network: with a LoRA on it.
        config: `enable_layerwise_casting` and `enable_group_offload`; nothing without them.
        device: that computes.
        channels_last: whether convolutions are to be in that order.
    """
    if not (config.enable_layerwise_casting or config.enable_group_offload):
        return
    kept = (*_KEPT, *(getattr(network, "_skip_layerwise_casting_patterns", None) or ()))
    home = torch.device("cpu") if config.enable_group_offload else device
    reader = Reader(device)
    for name, module in network.named_modules():
        frozen = isinstance(module, (nn.Linear, nn.Conv2d)) and not module.weight.requires_grad
        if not frozen:
            continue
        weight: Tensor = module.weight.detach()
        dtype = weight.dtype
        if config.enable_layerwise_casting and not any(part in name for part in kept):
            weight = weight.to(STORED)
        if channels_last and weight.ndim == 4:
            weight = weight.to(memory_format=torch.channels_last)
        weight = weight.to(home)
        if config.enable_group_offload and device.type == "cuda":
            weight = weight.pin_memory()  # only then is a copy to the GPU made beside its work
        _take_out(module, Stored(weight, dtype), reader)


class Stored:
    """A weight that is stored otherwise than it is used.

    Attributes:
        tensor: as it is stored.
        dtype: that it is used in.
    """

    def __init__(self, tensor: Tensor, dtype: torch.dtype) -> None:
        self.tensor = tensor
        self.dtype = dtype


class Reader:
    """Brings stored weights to a device, the next one while the present one is used.

    Args:
        device: that computes.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._following: dict[Stored, Stored] = {}
        self._last: Stored | None = None
        self._ahead: tuple[Stored, Tensor] | None = None

    def read(self, stored: Stored) -> Tensor:
        """A weight on the device, in the precision that it is used in."""
        if self._stream is None or stored.tensor.device == self._device:
            return stored.tensor.to(self._device).to(stored.dtype)
        if self._last is not None:
            # What came next last time comes next again, but where a checkpointed block begins.
            self._following[self._last] = stored
        self._last = stored
        now = torch.cuda.current_stream(self._device)
        if self._ahead is not None and self._ahead[0] is stored:
            tensor = self._ahead[1]
            now.wait_stream(self._stream)
            tensor.record_stream(now)
        else:
            tensor = stored.tensor.to(self._device, non_blocking=True)
        following = self._following.get(stored)
        self._ahead = None
        if following is not None:
            with torch.cuda.stream(self._stream):
                copy = following.tensor.to(self._device, non_blocking=True)
            self._ahead = following, copy
        return tensor.to(stored.dtype)


def _take_out(module: nn.Module, stored: Stored, reader: Reader) -> None:
    """Let a layer read its weight; it is none of its parameters any more, so nothing moves it."""
    del module._parameters["weight"]
    kind = type(module)
    read = property(lambda _: reader.read(stored))
    module.__class__ = type(kind.__name__, (kind,), {"weight": read})
