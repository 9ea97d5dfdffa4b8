"""Unconditional pixel models: a UNet2DModel under the stock DDPM and DDIM pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import diffusers
import numpy as np
import numpy.typing as npt
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMScheduler, UNet2DModel
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from memshield.config.file import Config
from memshield.families.augment import Augmentation
from memshield.families.base import Draw, Encoded, Family, Pictures, Placement, SampleLoss
from memshield.families.diffusion import DDIMSteps, DiffusionProcess, Predictor
from memshield.families.facts import Facts, training_files
from memshield.families.pixels import to_network
from memshield.families.saved import load_weights

_SAMPLED_AT_ONCE = 64 * 64**2
"""Pixels: larger pictures are sampled in smaller batches."""
_AT_MOST = 256


class Unconditional(Family):
    """Trains every weight of a UNet2DModel on pixels in [-1, 1].

    Attributes:
        augmentation: of its pictures while it is trained; None for none.
    """

    def __init__(self, config: Config, facts: Facts, placement: Placement) -> None:
        super().__init__(config, facts, placement)
        if facts.repository is None:
            torch.manual_seed(config.seed)
            unet = UNet2DModel.from_config({**facts.network, "sample_size": config.resolution})
        else:
            folder = facts.repository.fetch(training_files(config, facts))
            unet = UNet2DModel.from_pretrained(
                folder, subfolder="unet", use_safetensors=True, variant=config.variant
            ).float()
            # Stock pipelines make pictures of this size.
            unet.register_to_config(sample_size=config.resolution)
        if config.dropout is not None:
            _set_dropout(unet, config.dropout)
        self._take(unet)
        self.augmentation: Augmentation | None = None
        if config.augment_probability:
            self.augmentation = Augmentation(unet, config.augment_probability)
        self.scheduler = DDPMScheduler.from_config(facts.scheduler)
        self.process = DiffusionProcess.of(config, self.scheduler)
        self.num_slots = self.process.num_timesteps

    def trainable(self) -> dict[str, nn.Parameter]:
        """The UNet's weights, and the map of the augmentation's labels, which is not saved."""
        if self.augmentation is None:
            return super().trainable()
        labels = self.augmentation.map.named_parameters(prefix="augmentation.map")
        return {**super().trainable(), **dict(labels)}

    def encode_pictures(self, pictures: Pictures) -> Encoded:
        """Pixels [B, C, H, W] in [-1, 1]."""
        return {"pixels": to_network(pictures.pixels, self.device)}

    def encode_captions(self, captions: Sequence[str]) -> Encoded:
        """Nothing: the model is unconditional."""
        return {}

    def release_text_encoders(self) -> None:
        """Nothing to release."""

    def release_encoders(self) -> None:
        """Nothing to release."""

    def noise_levels(self) -> Tensor:
        """Those of its schedule."""
        return self.process.noise_levels()

    def draw(
        self, encoded: Encoded, generator: torch.Generator, level: Tensor | None = None
    ) -> Draw:
        """Augmented pictures, noise and timesteps."""
        pixels, labels = encoded["pixels"], None
        if self.augmentation is not None and level is None:
            pixels, labels = self.augmentation.draw(pixels, generator)
        return self.process.draw(pixels, generator, level)._replace(augment=labels)

    def predict(self, encoded: Encoded, draw: Draw) -> Tensor:
        """Epsilon, or v."""
        if self.augmentation is None:
            return self.process.predict(_predictor(self.network), draw)
        with self.augmentation.told(draw.augment):
            return self.process.predict(_predictor(self.network), draw)

    def loss(self, prediction: Tensor, draw: Draw) -> SampleLoss:
        """The denoising loss of every sample."""
        return self.process.loss(prediction, draw)

    def clean(self, encoded: Encoded) -> Tensor:
        """The pixels."""
        return encoded["pixels"]

    def noised(self, clean: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """As its schedule noises."""
        return self.process.noised(clean, noise, level)

    def _prediction(self, encoded: Encoded, noisy: Tensor, level: Tensor) -> Tensor:
        with self.running():
            return _predictor(self.network)(noisy, level).float()

    def predict_noise(self, encoded: Encoded, noisy: Tensor, level: Tensor) -> Tensor:
        """Epsilon; the model has no conditions."""
        with self.running():
            return self.process.predict_noise(_predictor(self.network), noisy, level)

    def sampler(self) -> DDIMScheduler:
        """DDIM on the model's own schedule."""
        return DDIMScheduler.from_config(self.scheduler.config)

    def sampling_steps(self, steps: int) -> DDIMSteps:
        """Those of `sampler`."""
        return DDIMSteps(self.process, self.sampler(), steps, self._prediction)

    def at_once(self) -> int:
        """64 pictures of 64 px."""
        return min(_AT_MOST, max(1, _SAMPLED_AT_ONCE // int(self.config.resolution or 0) ** 2))

    def sample(
        self, seeds: Sequence[int], prompts: Sequence[str] | None, steps: int
    ) -> npt.NDArray[np.float32]:
        """Pictures by DDIM (eta 0), one a seed."""
        pipeline = DDIMPipeline(self.network, self.sampler())
        pipeline.set_progress_bar_config(disable=True)
        steps, at_once = min(steps, self.process.num_timesteps), self.at_once()
        pictures: list[npt.NDArray[np.float32]] = []
        for start in range(0, len(seeds), at_once):
            generators = [
                torch.Generator().manual_seed(seed) for seed in seeds[start : start + at_once]
            ]
            with self.running():
                pictures.append(
                    pipeline(
                        len(generators), generators, num_inference_steps=steps, output_type="np"
                    ).images
                )
        return np.concatenate(pictures)

    def save(self, folder: Path, previous: Path | None = None) -> None:
        """A whole DDPM or DDIM pipeline."""
        pipeline_class = getattr(diffusers, self.facts.pipeline_class)
        pipeline_class(unet=self.network, scheduler=self.scheduler).save_pretrained(folder)

    def load_saved(self, folder: Path) -> None:
        """The UNet of a saved pipeline."""
        load_weights(self.network, folder / "unet")


def _set_dropout(unet: UNet2DModel, share: float) -> None:
    """Drop out in the residual blocks while training; the config that is saved stays as it is."""
    for block in unet.modules():
        if isinstance(block, ResnetBlock2D):
            block.dropout.p = share


def _predictor(network: nn.Module) -> Predictor:
    return lambda noisy, level: network(noisy, level, return_dict=False)[0]
