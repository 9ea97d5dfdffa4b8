"""The forward process and loss of models with integer timesteps (DDPM, Stable Diffusion)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.training_utils import compute_snr
from torch import Tensor

from memshield.config.file import Config
from memshield.families.base import Draw, Encoded, SampleLoss, squared_error
from memshield.families.levels import LevelDraws, TimestepBias

Predictor = Callable[[Tensor, Tensor], Tensor]
"""(noisy [B, ...], timesteps [B]) -> what the network predicts, [B, ...]."""


class DiffusionProcess:
    """Noising and the per-sample loss, as diffusers' examples have them.

    Args:
        scheduler: the model's noise schedule (Ho et al. 2020).
        snr_gamma: min-SNR weighting (Hang et al., arXiv 2303.09556, equation 5), or None.
        noise_offset: scale of a noise that is constant over a channel, 0 for none.
        bias: where timesteps are drawn more or less often; None draws all alike.
    """

    def __init__(
        self,
        scheduler: DDPMScheduler,
        snr_gamma: float | None = None,
        noise_offset: float = 0.0,
        bias: TimestepBias | None = None,
    ) -> None:
        self.scheduler = scheduler
        self.snr_gamma = snr_gamma
        self.noise_offset = noise_offset
        self.levels = LevelDraws(self.noise_levels(), bias)

    @classmethod
    def of(cls, config: Config, scheduler: DDPMScheduler) -> DiffusionProcess:
        """The process that a config asks for."""
        return cls(scheduler, config.snr_gamma, config.noise_offset, TimestepBias.of(config))

    @property
    def num_timesteps(self) -> int:
        """T."""
        return int(self.scheduler.config.num_train_timesteps)

    @property
    def predicts_velocity(self) -> bool:
        """Whether the network predicts v rather than epsilon (Salimans and Ho 2022)."""
        return bool(self.scheduler.config.prediction_type == "v_prediction")

    def draw(self, clean: Tensor, generator: torch.Generator, level: Tensor | None = None) -> Draw:
        """Noise and timesteps for clean samples [B, C, H, W]; `level` gives the timesteps [B]."""
        kwargs: dict[str, Any] = {"generator": generator, "device": clean.device}
        noise = torch.randn(clean.shape, dtype=clean.dtype, **kwargs)
        if self.noise_offset:
            offset = torch.randn((*clean.shape[:2], 1, 1), dtype=clean.dtype, **kwargs)
            noise = noise + self.noise_offset * offset
        if level is None:
            level = self.levels.draw(len(clean), generator, clean.device)
        return Draw(clean, noise, level)

    def noise_levels(self) -> Tensor:
        """Noise over signal of every timestep: sqrt((1 - abar) / abar), [T] in float64."""
        kept: Tensor = self.scheduler.alphas_cumprod.double()
        return ((1 - kept) / kept).sqrt()

    def predict_noise(self, predict: Predictor, noisy: Tensor, level: Tensor) -> Tensor:
        """Epsilon [B, ...] in float32, whatever the network predicts."""
        prediction = predict(noisy, level).float()
        if not self.predicts_velocity:
            return prediction
        kept: Tensor = self.scheduler.alphas_cumprod.to(level.device)[level]
        kept = kept.reshape(-1, *[1] * (noisy.ndim - 1))
        # From v = alpha epsilon - sigma x_0 and x_t = alpha x_0 + sigma epsilon.
        return kept.sqrt() * prediction + (1 - kept).sqrt() * noisy.float()

    def noised(self, clean: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """sqrt(abar_t) x_0 + sqrt(1 - abar_t) epsilon, [B, ...]."""
        noisy: Tensor = self.scheduler.add_noise(clean, noise, level)
        return noisy

    def predict(self, predict: Predictor, draw: Draw) -> Tensor:
        """What the network predicts for the noisy samples of a draw, [B, ...]."""
        return predict(self.noised(draw.clean, draw.noise, draw.level), draw.level)

    def loss(self, prediction: Tensor, draw: Draw) -> SampleLoss:
        """Mean squared error of each sample's prediction, over channels, height and width."""
        if self.predicts_velocity:
            target = self.scheduler.get_velocity(draw.clean, draw.noise, draw.level)
        else:
            target = draw.noise
        value = squared_error(prediction, target)
        return SampleLoss(value, self._weight(draw.level, value), draw.level)

    def _weight(self, level: Tensor, value: Tensor) -> Tensor:
        if self.snr_gamma is None:
            return torch.ones_like(value)
        snr: Tensor = compute_snr(self.scheduler, level)
        if self.predicts_velocity:
            # A v target's own weight is snr + 1 (Salimans and Ho 2022, appendix D).
            return snr.clamp(max=self.snr_gamma) / (snr + 1)
        # min(snr, gamma) / snr; where a schedule ends in noise alone, 0 / 0 has the limit 1.
        return (self.snr_gamma / snr).clamp(max=1)


class DDIMSteps:
    """DDIM on what a network predicts, epsilon or v; see `base.SamplingSteps`.

    Args:
        process: of the family.
        sampler: as the family samples.
        steps: at most T.
        predict: (encoded, noisy [B, ...], level [B] int64) -> the network's prediction in float32.
    """

    def __init__(
        self,
        process: DiffusionProcess,
        sampler: DDIMScheduler,
        steps: int,
        predict: Callable[[Encoded, Tensor, Tensor], Tensor],
    ) -> None:
        self._process = process
        self._predict = predict
        self._scheduler = sampler
        # The offset moves the first of as many steps as levels out of the schedule.
        most = process.num_timesteps - int(sampler.config.steps_offset)
        sampler.set_timesteps(max(1, min(steps, most)))
        self.timesteps: Tensor = sampler.timesteps

    def predict(self, encoded: Encoded, noisy: Tensor, timestep: Tensor) -> Tensor:
        """Epsilon, or v: at a level without any signal, no step follows from epsilon."""
        level = torch.full((len(noisy),), int(timestep), dtype=torch.int64, device=noisy.device)
        return self._predict(encoded, noisy, level)

    def as_noise(self, change: Tensor, timestep: Tensor) -> Tensor:
        """What it is already, or sqrt(abar_t) times the change of v."""
        if not self._process.predicts_velocity:
            return change
        kept: Tensor = self._scheduler.alphas_cumprod[int(timestep)]
        return kept.sqrt().to(change.device) * change

    def advance(self, noisy: Tensor, prediction: Tensor, timestep: Tensor) -> Tensor:
        """DDIM's step (Song et al. 2020, equation 12 without noise)."""
        earlier: Tensor = self._scheduler.step(prediction, timestep, noisy).prev_sample
        return earlier
