"""A rough model of the memory of a training at its peak. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from memshield.config.file import Config
from memshield.families.kinds import FamilyName

SAVED: Mapping[FamilyName, float] = {
    "unconditional": 35e3,
    "stable_diffusion": 0.9e6,
    "stable_diffusion_xl": 1.5e6,
    "stable_diffusion_3": 0.6e6,
    "flux": 1.8e6,
    "z_image": 2.2e6,
    "qwen_image": 2.2e6,
    "flux2_klein": 0.6e6,
    "krea2": 3.3e6,
}
"""Bytes that a forward pass keeps for the backward one, by position, in 16 bits."""

ENCODERS: Mapping[FamilyName, float] = {
    "unconditional": 0.0,
    "stable_diffusion": 0.21e9,
    "stable_diffusion_xl": 0.90e9,
    "stable_diffusion_3": 5.7e9,
    "flux": 5.0e9,
    "z_image": 4.1e9,
    "qwen_image": 8.4e9,
    "flux2_klein": 4.1e9,
    "krea2": 4.6e9,
}
"""Weights of text encoders and VAE."""

LINEAR: Mapping[FamilyName, float] = {
    "unconditional": 0.0,
    "stable_diffusion": 0.31,
    "stable_diffusion_xl": 0.87,
    "stable_diffusion_3": 1.0,
    "flux": 1.0,
    "z_image": 1.0,
    "qwen_image": 1.0,
    "flux2_klein": 1.0,
    "krea2": 1.0,
}
"""Share of a network's weights in linear layers, which are those that are quantized."""

LORA: Mapping[FamilyName, float] = {
    "unconditional": 0.0,
    "stable_diffusion": 0.20e6,
    "stable_diffusion_xl": 1.45e6,
    "stable_diffusion_3": 0.59e6,
    "flux": 2.80e6,
    "z_image": 1.05e6,
    "qwen_image": 1.48e6,
    "flux2_klein": 1.05e6,
    "krea2": 3.00e6,
}
"""Weights of a LoRA of rank 1 on the usual layers."""

QUANTIZED: Mapping[str, float] = {"nf4": 0.5 + 4 / 64, "int8": 1.0, "fp8": 1.0}
"""Bytes a quantized weight: nf4 has a float32 for every 64."""

_VAE = 0.084e9
_CAST = 1.0  # bytes a weight in 8-bit floats
_USUAL_RANK = 32
_OFFLOADED = 0.05  # share of the base on the device: the layer in use, the next one, what is kept
_CHECKPOINTED = 0.15  # share of the activations that are still kept
_DRIVER = 1.2e9  # bytes of CUDA's context, or of Python and its libraries


class Sizes(NamedTuple):
    """What the memory of a training follows from, beside its settings.

    Attributes:
        family: of the model.
        parameters: weights of its network.
        positions: of a picture: latents, or pixels of a pixel model.
        lora: whether a LoRA is trained.
        cached: whether pictures are encoded beforehand.
        has_gpu: whether a GPU computes.
    """

    family: FamilyName
    parameters: int
    positions: float
    lora: bool
    cached: bool
    has_gpu: bool


def peak_memory(config: Config, sizes: Sizes) -> float:
    """Bytes of the device at the peak of a training, or of the machine where there is no GPU."""
    encoders = ENCODERS[sizes.family] * _width(config)
    step = step_memory(config, sizes)
    if not sizes.has_gpu:
        # Encoders wait in the memory in which the network is trained.
        return step + encoders
    # Text encoders are on the device before or after the network, never beside it.
    return max(step, encoders + _DRIVER)


def step_memory(config: Config, sizes: Sizes) -> float:
    """The same of a step alone, while text encoders are elsewhere."""
    width = _width(config)
    network = _lora(config, sizes, width) if sizes.lora else _full(config, sizes)
    kept = _CHECKPOINTED if config.gradient_checkpointing else 1.0
    saved = SAVED[sizes.family] * width / 2 * sizes.positions * config.train_batch_size * kept
    on_device = sizes.has_gpu and not sizes.cached and ENCODERS[sizes.family] > 0
    vae = _VAE * width if on_device else 0.0
    return network + vae + saved + _DRIVER


def _width(config: Config) -> int:
    """Bytes of a number in the precision of the forward pass."""
    return 2 if config.mixed_precision in ("fp16", "bf16") else 4


def moment_bytes(config: Config) -> float:
    """Bytes that the optimizer keeps a trained weight."""
    if config.use_adafactor:
        return 0.01  # a row and a column a matrix
    return 2 if config.use_8bit_adam else 8


def _full(config: Config, sizes: Sizes) -> float:
    moments = moment_bytes(config)
    copies = (4 if config.use_ema else 0) + (4 if config.stop_levels else 0)
    weights = sizes.parameters * (4 + 4 + moments + copies)
    if not sizes.has_gpu:
        # Waiting shards and the running mean are in the same memory as the active one.
        waiting = config.num_shards - 1 if config.shard_optimizer != "reset" else 0
        weights += sizes.parameters * (4 + moments * waiting)
    return weights


def _lora(config: Config, sizes: Sizes, width: int) -> float:
    """The frozen base; a LoRA of a usual rank and its moments add a few per cent of it.

    A higher rank adds its weights, their gradients and moments; the teacher of stopped noise levels
    is one more copy of the LoRA.
    """
    base = float(width)
    if config.base_quantization is not None:
        share = LINEAR[sizes.family]
        base = share * QUANTIZED[config.base_quantization] + (1 - share) * width
    if config.enable_layerwise_casting:
        base = _CAST
    if config.enable_group_offload and sizes.has_gpu:
        base *= _OFFLOADED
    a_rank = LORA[sizes.family]
    more = max(0, config.rank - _USUAL_RANK) * a_rank * (4 + 4 + moment_bytes(config))
    teacher = 4 * config.rank * a_rank if config.stop_levels else 0
    return sizes.parameters * (base + 0.05 * width) + more + teacher
