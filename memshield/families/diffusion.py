"""The forward process and loss of models with integer timesteps (DDPM, Stable Diffusion)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr
from torch import Tensor

from memshield.families.base import Draw, SampleLoss

Predictor = Callable[[Tensor, Tensor], Tensor]
"""(noisy [B, ...], timesteps [B]) -> what the network predicts, [B, ...]."""


class DiffusionProcess:
    """Noising and the per-sample loss, as diffusers' examples have them.

    Args:
        scheduler: the model's noise schedule (Ho et al. 2020).
        snr_gamma: min-SNR weighting (Hang et al., arXiv 2303.09556, equation 5), or None.
        noise_offset: scale of a noise that is constant over a channel, 0 for none.
    """

    def __init__(
        self, scheduler: DDPMScheduler, snr_gamma: float | None = None, noise_offset: float = 0.0
    ) -> None:
        self.scheduler = scheduler
        self.snr_gamma = snr_gamma
        self.noise_offset = noise_offset

    @property
    def num_timesteps(self) -> int:
        """T."""
        return int(self.scheduler.config.num_train_timesteps)

    @property
    def predicts_velocity(self) -> bool:
        """Whether the network predicts v rather than epsilon (Salimans and Ho 2022)."""
        return bool(self.scheduler.config.prediction_type == "v_prediction")

    def draw(self, clean: Tensor, generator: torch.Generator) -> Draw:
        """Noise and timesteps for clean samples [B, C, H, W]."""
        kwargs: dict[str, Any] = {"generator": generator, "device": clean.device}
        noise = torch.randn(clean.shape, dtype=clean.dtype, **kwargs)
        if self.noise_offset:
            offset = torch.randn((*clean.shape[:2], 1, 1), dtype=clean.dtype, **kwargs)
            noise = noise + self.noise_offset * offset
        level = torch.randint(0, self.num_timesteps, (len(clean),), **kwargs)
        return Draw(clean, noise, level)

    def predict_noise(self, predict: Predictor, noisy: Tensor, level: Tensor) -> Tensor:
        """Epsilon [B, ...] in float32, whatever the network predicts."""
        prediction = predict(noisy, level).float()
        if not self.predicts_velocity:
            return prediction
        kept: Tensor = self.scheduler.alphas_cumprod.to(level.device)[level]
        kept = kept.reshape(-1, *[1] * (noisy.ndim - 1))
        # From v = alpha epsilon - sigma x_0 and x_t = alpha x_0 + sigma epsilon.
        return kept.sqrt() * prediction + (1 - kept).sqrt() * noisy.float()

    def loss(self, predict: Predictor, draw: Draw) -> SampleLoss:
        """Mean squared error of each sample's prediction, over channels, height and width."""
        noisy = self.scheduler.add_noise(draw.clean, draw.noise, draw.level)
        if self.predicts_velocity:
            target = self.scheduler.get_velocity(draw.clean, draw.noise, draw.level)
        else:
            target = draw.noise
        error = predict(noisy, draw.level).float() - target.float()
        value = error.square().mean(dim=tuple(range(1, error.ndim)))
        return SampleLoss(value, self._weight(draw.level, value), draw.level)

    def _weight(self, level: Tensor, value: Tensor) -> Tensor:
        if self.snr_gamma is None:
            return torch.ones_like(value)
        snr: Tensor = compute_snr(self.scheduler, level)
        clipped = snr.clamp(max=self.snr_gamma)
        if self.predicts_velocity:
            # A v target's own weight is snr + 1 (Salimans and Ho 2022, appendix D).
            return clipped / (snr + 1)
        return clipped / snr
