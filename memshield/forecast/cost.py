"""A rough model of the computation and memory of a training. No torch.

Operations and activations were counted once, on the meta device, for the UNets of Stable
Diffusion 1.5 (860 M weights, 64 x 64 latents), SDXL (2,567 M, 128 x 128) and configs/models, and
for transformers at 128 x 128 latents (torch.utils.flop_counter, and the tensors that autograd
saves, without the matrices of attention). They grow with the weights and, nearly, with the
positions (latents, or pixels of a pixel model). No figure here was measured on a GPU:
`plan --measure` is what measures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from memshield.config.buckets import most_pixels
from memshield.config.file import Config
from memshield.families.kinds import FamilyName
from memshield.forecast.flavours import Hardware
from memshield.forecast.memory import Sizes, peak_memory
from memshield.forecast.totals import Numbers

FLOPS: Mapping[FamilyName, float] = {
    "unconditional": 0.34,
    "stable_diffusion": 0.23,
    "stable_diffusion_xl": 0.16,
    "stable_diffusion_3": 0.30,
    "flux": 0.38,
    "z_image": 0.62,
    "qwen_image": 0.23,
    "flux2_klein": 0.55,
    "krea2": 0.61,
}
"""Operations of a forward pass by weight and position."""

# Seconds that a forward and backward pass takes however small it is: starting kernels.
_LAUNCHES: Mapping[FamilyName, float] = {
    "unconditional": 0.03,
    "stable_diffusion": 0.06,
    "stable_diffusion_xl": 0.15,
    "stable_diffusion_3": 0.08,
    "flux": 0.12,
    "z_image": 0.08,
    "qwen_image": 0.15,
    "flux2_klein": 0.06,
    "krea2": 0.07,
}
_CPU_LAUNCH = 0.03  # the demo's step at batches of 32 to 128 (tests/bench, step_cpu)
_CPU_PICTURE = 6e-4  # of a denoising step, by picture
_LOADING = 20.0
_SAVING = 3.0
_ENCODE, _DECODE = 4.3e6, 9.6e6  # the VAE's operations a pixel
_LATENT = 8  # pixels a latent, each way
_TENSOR_CORES, _PLAIN_CORES = 0.35, 0.6  # shares of the makers' peaks that trainings reach


@dataclass(frozen=True)
class ModelSize:
    """The size of a model, from its description.

    Attributes:
        family: of the model.
        parameters: weights of its UNet or transformer.
        resolution: side of its pictures in pixels, unless the config has another.
    """

    family: FamilyName
    parameters: int
    resolution: int


OWN_MODELS: Mapping[str, ModelSize] = {
    "configs/models/digits-unet.json": ModelSize("unconditional", 701_345, 8),
    "configs/models/cifar-unet.json": ModelSize("unconditional", 35_746_307, 32),
    "configs/models/afhq-unet.json": ModelSize("unconditional", 78_700_803, 64),
}
"""The models that are trained from scratch, by the path that names them."""


def own_model(path: str | None) -> ModelSize | None:
    """The size of the shipped model that a path names, from whichever folder."""
    return OWN_MODELS.get("/".join(Path(path).parts[-3:])) if path else None


@dataclass(frozen=True)
class Cost:
    """The middle of the estimate.

    Attributes:
        training_s: seconds of all steps.
        encoding_s: to encode the pictures once; 0 where that is done in every step.
        sampling_s: of sample grids.
        audits_s: of audits while training.
        other_s: loading and saving.
        memory_bytes: at the peak of a step.
    """

    training_s: float
    encoding_s: float
    sampling_s: float
    audits_s: float
    other_s: float
    memory_bytes: float

    @property
    def total_s(self) -> float:
        """All together."""
        return self.training_s + self.encoding_s + self.sampling_s + self.audits_s + self.other_s


def cost_of(config: Config, numbers: Numbers, model: ModelSize, hardware: Hardware) -> Cost:
    """The cost of a training on a hardware, in one process.

    Args:
        config: settings; the resolution and the kind of training may be left open.
        numbers: of the same settings.
        model: its size.
        hardware: that computes.
    """
    text = model.family != "unconditional"
    lora = (config.training or ("lora" if text else "full")) == "lora"
    resolution = config.resolution or model.resolution
    pixels = most_pixels(config, resolution)
    positions = pixels / _LATENT**2 if text else pixels
    rate = _rate(config, hardware)
    forward = FLOPS[model.family] * model.parameters * positions / rate
    sampled = resolution**2 / pixels  # samples are square, whatever is trained on
    encode = _ENCODE * pixels / rate if text else 0.0
    # Backward costs twice the forward pass: for the activations and, in full, for the weights.
    passes = (2 if lora else 3) + (1 if config.gradient_checkpointing else 0)
    # Whether all pictures are square is not known here: then crops could be kept as well.
    cached = text and config.cache_latents is not False and config.center_crop
    launches = _LAUNCHES[model.family] if hardware.has_gpu else _CPU_LAUNCH
    batch = config.train_batch_size
    each = max(launches, batch * (passes * forward + (0 if cached else encode)))
    if not hardware.has_gpu:
        each += launches
    # A stopped noise level is taught by a copy of the model: half of the samples, on the way.
    each += batch * forward / 2 if config.stop_levels else 0.0
    step = each * config.gradient_accumulation_steps
    # A picture: every denoising step once, twice with guidance, and the decoder.
    picture = config.num_inference_steps * forward * (2 if text else 1)
    picture += _DECODE * pixels / rate if text else 0.0
    picture *= sampled
    picture += 0.0 if hardware.has_gpu else config.num_inference_steps * _CPU_PICTURE
    encoded = numbers.members + numbers.watched
    return Cost(
        training_s=(numbers.steps or 0) * step + checks_of(config) * forward,
        encoding_s=encoded * (2 if config.random_flip else 1) * encode if cached else 0.0,
        sampling_s=config.num_rounds * grid_of(config, model.family) * picture,
        audits_s=numbers.audits * numbers.audit_images * picture,
        other_s=_LOADING + config.num_rounds * _SAVING if text else _LOADING,
        memory_bytes=peak_memory(
            config,
            Sizes(model.family, model.parameters, positions, lora, cached, hardware.has_gpu),
        ),
    )


def checks_of(config: Config) -> int:
    """Forward passes of a picture that watching the held-out loss takes, over the whole run."""
    if not config.watches:
        return 0
    checks = config.watch_checks if config.num_shards == 1 else config.num_rounds
    # The moving average is watched; a bank learns from the weights that are trained.
    networks = 2 if config.loss_bank_reference == "held_out" and config.use_ema else 1
    return networks * (checks + 1) * config.watch_bins * config.watch_draws


def grid_of(config: Config, family: FamilyName) -> int:
    """Pictures of a round's sample grid."""
    samples = config.num_validation_images
    if family == "unconditional":
        return 16 if samples is None else samples
    return (4 if samples is None else samples) * (len(config.validation_prompts or ()) or 4)


def _rate(config: Config, hardware: Hardware) -> float:
    """Operations a second."""
    precision = config.mixed_precision or "no"
    if not hardware.has_gpu:
        return hardware.tflops * 1e12
    if precision == "no":
        return hardware.tflops * 1e12 * _PLAIN_CORES
    if precision == "bf16" and not hardware.bf16:
        return hardware.tflops * 1e12 * _PLAIN_CORES / 2  # in float32, converted to and fro
    return hardware.half_tflops * 1e12 * _TENSOR_CORES
