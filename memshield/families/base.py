"""What the training loop asks of a model family. A family is the only model-aware code.

The loop never sees latents, tokens or timesteps: it moves what `encode_*` returned to `draw`,
what `draw` returned to `loss`, and minimises. Noise levels are known by their slots: a family
says which timestep (DDPM) or sigma (flow matching) a slot stands for, and nothing else changes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import diffusers
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from memshield.config.file import Config
from memshield.errors import UserError
from memshield.families import memory
from memshield.families.facts import Facts

Encoded = dict[str, Tensor]
"""Tensors with a leading batch dimension; what may be cached.

Where captions keep their own lengths, "mask" [B, T] says which of "text" [B, T, ...] are a
caption's: its first ones, and what follows fills it up to the longest of the batch.
"""


class Pictures(NamedTuple):
    """A batch of pictures as the data module gives them.

    Attributes:
        pixels: [B, C, H, W] uint8.
        original_size: [B, 2] height and width before scaling.
        crop: [B, 2] top and left of the crop after scaling and mirroring.
    """

    pixels: Tensor
    original_size: Tensor
    crop: Tensor


class Draw(NamedTuple):
    """All that is random in a step of the forward process.

    Attributes:
        clean: [B, ...] what is noised: pixels in [-1, 1], or latents sampled from their moments.
        noise: [B, ...] standard normal (plus the offset, if any).
        level: [B] int64 slot of the noise level, rising with the noise.
        augment: [B, labels] how `clean` was augmented; None where nothing is.
    """

    clean: Tensor
    noise: Tensor
    level: Tensor
    augment: Tensor | None = None

    def only(self, chosen: Tensor) -> Draw:
        """The samples at these places ([B] bool)."""
        augment = None if self.augment is None else self.augment[chosen]
        return Draw(self.clean[chosen], self.noise[chosen], self.level[chosen], augment)

    @classmethod
    def joined(cls, parts: Sequence[Draw]) -> Draw:
        """One batch of several."""
        augments = [part.augment for part in parts if part.augment is not None]
        return cls(
            torch.cat([part.clean for part in parts]),
            torch.cat([part.noise for part in parts]),
            torch.cat([part.level for part in parts]),
            torch.cat(augments) if augments else None,
        )


class SampleLoss(NamedTuple):
    """Losses of a batch, kept apart until the last moment.

    Attributes:
        value: [B] mean squared error, unweighted: what the bank and the mask use.
        weight: [B] factor of each in the gradient (min-SNR), 1 without.
        slot: [B] int64 slot of the noise level in the loss bank, 0 .. num_slots - 1.
    """

    value: Tensor
    weight: Tensor
    slot: Tensor


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each sample, [B] in float32, over all but the first dimension."""
    error = prediction.float() - target.float()
    return error.square().mean(dim=tuple(range(1, error.ndim)))


class SamplingSteps(Protocol):
    """The steps in which a model samples, for who has to look into them.

    Attributes:
        timesteps: [steps] in the order in which they are taken, in the scheduler's own terms.
    """

    timesteps: Tensor

    def predict(self, encoded: Encoded, noisy: Tensor, timestep: Tensor) -> Tensor:
        """What `advance` takes, [B, ...] in float32; guidance combines two of them linearly."""

    def as_noise(self, change: Tensor, timestep: Tensor) -> Tensor:
        """The difference of two predictions for one noisy sample, as a difference of epsilon."""

    def advance(self, noisy: Tensor, prediction: Tensor, timestep: Tensor) -> Tensor:
        """The sample after a step, [B, ...]."""


@dataclass(frozen=True)
class Placement:
    """Where a family puts its networks, and in which precision it holds the frozen ones."""

    device: torch.device
    frozen_dtype: torch.dtype

    @classmethod
    def of(cls, config: Config, device: torch.device) -> Placement:
        """Frozen networks in the precision of the forward pass."""
        lower = {"fp16": torch.float16, "bf16": torch.bfloat16}
        return cls(device, lower.get(config.mixed_precision or "no", torch.float32))


class Family(ABC):
    """A loaded model and how to train, sample and save it.

    Attributes:
        config: the resolved settings.
        facts: what is known of the model.
        network: the one that is trained (or carries the LoRA).
        num_slots: noise levels of the loss bank before it is binned.
        scheduler: its noise schedule, one of diffusers' schedulers.
    """

    network: nn.Module
    num_slots: int
    scheduler: Any

    def __init__(self, config: Config, facts: Facts, placement: Placement) -> None:
        self.config = config
        self.facts = facts
        self.device = placement.device
        self.frozen_dtype = placement.frozen_dtype

    def _take(self, network: nn.Module) -> None:
        """Put the network that is trained on the device, to be run as the settings say."""
        memory.hold(network, self.config, self.device, self.in_channels_last())
        network.to(self.device)
        if self.in_channels_last():
            # Inputs follow: a convolution answers in the order of its weights.
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.config.gradient_checkpointing:
            network.enable_gradient_checkpointing()  # type: ignore[operator]
        if self.config.torch_compile:
            # The first saving notes this: a change to the config would compile all anew.
            network.register_to_config(_diffusers_version=diffusers.__version__)  # type: ignore[operator]
            # In place: the names of its weights stay as they are. Inductor's backend for CPUs, and
            # no other, forgets that an upsampler's gradient was scattered into zeros, and goes on
            # with the zeros (pytorch/pytorch#185509; PyTorch 2.14 has it mended).
            network.compile(backend="inductor" if self.device.type == "cuda" else "aot_eager")
        self.network = network

    def in_channels_last(self) -> bool:
        """Whether the network is held in that order: as set, or where it is known to be faster."""
        if self.config.channels_last is not None:
            return self.config.channels_last
        return self.device.type == "cuda" and self.frozen_dtype != torch.float32

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that are trained, by name, in a fixed order."""
        return {name: p for name, p in self.network.named_parameters() if p.requires_grad}

    @abstractmethod
    def encode_pictures(self, pictures: Pictures) -> Encoded:
        """What the forward process needs of pictures, without anything drawn."""

    @abstractmethod
    def encode_captions(self, captions: Sequence[str]) -> Encoded:
        """What conditions the network; {} for unconditional models."""

    @classmethod
    def count_tokens(
        cls, config: Config, facts: Facts, captions: Sequence[str]
    ) -> tuple[list[int], int]:
        """How many tokens each caption has, and how many the text encoder takes of one.

        Fetches a tokenizer, and no weights.
        """
        return [0] * len(captions), 0

    @abstractmethod
    def release_text_encoders(self) -> None:
        """Have the network on the device in their place: all captions have been encoded."""

    @abstractmethod
    def release_encoders(self) -> None:
        """Move the frozen encoders off the device: everything has been encoded."""

    @abstractmethod
    def noise_levels(self) -> Tensor:
        """Noise over signal of every slot, [num_slots] in float64, rising."""

    @abstractmethod
    def draw(
        self, encoded: Encoded, generator: torch.Generator, level: Tensor | None = None
    ) -> Draw:
        """Draw latents, noise and noise levels for a batch.

        Args:
            encoded: of the batch.
            generator: of all that is drawn.
            level: [B] slots that are given instead; then nothing is augmented either.
        """

    @abstractmethod
    def predict(self, encoded: Encoded, draw: Draw) -> Tensor:
        """What the network predicts for a batch, [B, ...], in the terms that it is trained in."""

    @abstractmethod
    def loss(self, prediction: Tensor, draw: Draw) -> SampleLoss:
        """The loss of every sample, for what `predict` gave."""

    @abstractmethod
    def clean(self, encoded: Encoded) -> Tensor:
        """What `draw` noises, [B, ...] in float32, with nothing drawn: the mean of the latents."""

    @abstractmethod
    def noised(self, clean: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """Clean samples [B, ...] with noise at the levels of these slots [B]."""

    @abstractmethod
    def predict_noise(self, encoded: Encoded, noisy: Tensor, level: Tensor) -> Tensor:
        """What the network as it is now takes for the noise in noisy samples.

        In evaluation mode and without gradients; as epsilon, whatever the network predicts.

        Args:
            encoded: of the batch; its conditions are used, its clean pictures are not.
            noisy: [B, ...] shaped as `clean`.
            level: [B] slots.

        Returns:
            [B, ...] in float32.
        """

    @abstractmethod
    def sampling_steps(self, steps: int) -> SamplingSteps:
        """The steps that samples are made in, at most as many as there are noise levels."""

    @abstractmethod
    def at_once(self) -> int:
        """Pictures that are sampled, or scored by an attack, in one batch."""

    @abstractmethod
    def sample(
        self, seeds: Sequence[int], prompts: Sequence[str] | None, steps: int
    ) -> npt.NDArray[np.float32]:
        """One picture a seed (and a prompt) with the weights as they are now.

        A picture depends on its seed and prompt, not on those it is sampled with.

        Returns:
            [B, H, W, C] in [0, 1]; NaN where a broken model gives no number.
        """

    @abstractmethod
    def save(self, folder: Path, previous: Path | None = None) -> None:
        """Write what stock diffusers loads.

        Args:
            folder: an empty folder.
            previous: an earlier save of the same run, whose frozen files may be linked to.
        """

    @abstractmethod
    def load_saved(self, folder: Path) -> None:
        """Put the weights that `save` wrote into the network.

        Raises:
            UserError: the folder holds no weights, or those of another model.
        """

    def fuse_lora(self, folder: Path, file: str) -> None:
        """Add a LoRA of any trainer to the weights.

        Args:
            folder: that holds it.
            file: its name; a safetensors file.

        Raises:
            UserError: it does not fit this model.
        """
        raise UserError("base", "models without prompts take no LoRA", "Name another base.")

    @contextmanager
    def running(self) -> Iterator[None]:
        """The network in evaluation mode, without gradients, in the precision of training."""
        lower = self.frozen_dtype != torch.float32
        with (
            evaluating(self.network),
            torch.autocast(self.device.type, self.frozen_dtype, enabled=lower),
        ):
            yield


@contextmanager
def evaluating(*networks: nn.Module) -> Iterator[None]:
    """Networks in evaluation mode, uncompiled and without gradients; as they were afterwards."""
    modes = [network.training for network in networks]
    for network in networks:
        network.eval()
    try:
        # A compiled network would be compiled anew for each of the shapes that are sampled.
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            yield
    finally:
        for network, mode in zip(networks, modes, strict=True):
            network.train(mode)
