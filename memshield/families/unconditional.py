"""Unconditional pixel models: a UNet2DModel under the stock DDPM and DDIM pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import diffusers
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMScheduler, UNet2DModel
from PIL import Image
from torch import nn

from memshield.config import Config
from memshield.families.base import (
    Draw,
    Encoded,
    Family,
    Pictures,
    Placement,
    SampleLoss,
    evaluating,
)
from memshield.families.diffusion import DiffusionProcess
from memshield.families.facts import Facts


class Unconditional(Family):
    """Trains every weight of a UNet2DModel on pixels in [-1, 1]."""

    has_encoders = False

    def __init__(self, config: Config, facts: Facts, placement: Placement) -> None:
        super().__init__(config, facts, placement)
        if facts.repository is None:
            torch.manual_seed(config.seed)
            unet = UNet2DModel.from_config({**facts.unet, "sample_size": config.resolution})
        else:
            folder = facts.repository.fetch(
                facts.repository.component_files("unet", config.variant)
            )
            unet = UNet2DModel.from_pretrained(
                folder, subfolder="unet", use_safetensors=True, variant=config.variant
            ).float()
            # Stock pipelines make pictures of this size.
            unet.register_to_config(sample_size=config.resolution)
        self._take(unet)
        self.scheduler = DDPMScheduler.from_config(facts.scheduler)
        self.process = DiffusionProcess(self.scheduler, config.snr_gamma, config.noise_offset)
        self.num_slots = self.process.num_timesteps

    def encode_pictures(self, pictures: Pictures) -> Encoded:
        """Pixels [B, C, H, W] in [-1, 1]."""
        pixels = pictures.pixels.to(self.device, non_blocking=True)
        return {"pixels": pixels.float().div_(127.5).sub_(1.0)}

    def encode_captions(self, captions: Sequence[str]) -> Encoded:
        """Nothing: the model is unconditional."""
        return {}

    def release_encoders(self) -> None:
        """Nothing to release."""

    def draw(self, encoded: Encoded, generator: torch.Generator) -> Draw:
        """Noise and timesteps."""
        return self.process.draw(encoded["pixels"], generator)

    def loss(self, network: nn.Module, encoded: Encoded, draw: Draw) -> SampleLoss:
        """The denoising loss of every sample."""
        return self.process.loss(lambda noisy, t: network(noisy, t, return_dict=False)[0], draw)

    def sample(
        self, seeds: Sequence[int], prompts: Sequence[str] | None, steps: int
    ) -> list[Image.Image]:
        """Pictures by DDIM (eta 0), one a seed."""
        pipeline = DDIMPipeline(self.network, DDIMScheduler.from_config(self.scheduler.config))
        pipeline.set_progress_bar_config(disable=True)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        steps = min(steps, self.process.num_timesteps)
        with evaluating(self.network):
            images = pipeline(len(seeds), generators, num_inference_steps=steps).images
        return list(images)

    def save(self, folder: Path, previous: Path | None = None) -> None:
        """A whole DDPM or DDIM pipeline."""
        pipeline_class = getattr(diffusers, self.facts.pipeline_class)
        pipeline_class(unet=self.network, scheduler=self.scheduler).save_pretrained(folder)
