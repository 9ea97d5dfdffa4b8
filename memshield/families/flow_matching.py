"""The forward process and loss of flow matching (rectified flow, arXiv 2209.03003 and 2403.03206).

x_t = (1 - sigma) x_0 + sigma epsilon, and the network predicts the velocity epsilon - x_0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.training_utils import (
    compute_density_for_timestep_sampling,
    compute_loss_weighting_for_sd3,
)
from torch import Tensor

from memshield.config.file import Config
from memshield.families.base import Draw, Encoded, SampleLoss, squared_error
from memshield.families.levels import LevelDraws, TimestepBias

VelocityPredictor = Callable[[Tensor, Tensor], Tensor]
"""(noisy [B, ...], timesteps [B] in the scheduler's terms) -> velocity [B, ...]."""

_GRID = 100_001


class FlowProcess:
    """Noising and the loss of each sample, as diffusers' examples have them.

    diffusers counts noise levels from pure noise down. Slots rise with the noise, as those of
    DDPM's timesteps do: slot s is diffusers' index T - 1 - s.

    Args:
        scheduler: the model's own; its static shift is in its sigmas, a dynamic one is not.
        config: weighting_scheme, logit_mean, logit_std, mode_scale and the bias of the draws.
        preconditioned: whether the loss is taken on x_0 rather than the velocity.
        device: that draws and predicts; None for the CPU.
    """

    def __init__(
        self,
        scheduler: FlowMatchEulerDiscreteScheduler,
        config: Config,
        preconditioned: bool = False,
        device: torch.device | None = None,
    ) -> None:
        self.sigmas: Tensor = scheduler.sigmas.flip(0).to(device)
        self.timesteps: Tensor = scheduler.timesteps.flip(0).to(device)
        self._scheme = config.weighting_scheme or "none"
        self._shape = {
            "logit_mean": config.logit_mean,
            "logit_std": config.logit_std,
            "mode_scale": config.mode_scale,
        }
        self._preconditioned = preconditioned
        self._bias = TimestepBias.of(config)
        density = density_of_slots(self.num_slots, self._scheme, **self._shape)
        self.levels = LevelDraws(self.noise_levels(), self._bias, density.to(device))

    @property
    def num_slots(self) -> int:
        """T."""
        return len(self.sigmas)

    def noise_levels(self) -> Tensor:
        """Noise over signal of every slot: sigma / (1 - sigma), [T] in float64.

        The last slot is noise alone and has no such number. It is given the level at half of the
        signal that is left in the slot before it, so that levels stay finite and rise.
        """
        sigmas = self.sigmas.cpu().double()
        signal = 1 - sigmas
        return sigmas / signal.clamp(min=float(signal[-2]) / 2)

    def draw(self, clean: Tensor, generator: torch.Generator, level: Tensor | None = None) -> Draw:
        """Noise and slots for clean samples [B, ...]; `level` gives the slots [B]."""
        noise = torch.randn(
            clean.shape, dtype=clean.dtype, generator=generator, device=clean.device
        )
        if level is None:
            level = self._draw_slots(len(clean), generator, clean.device)
        return Draw(clean, noise, level)

    def _draw_slots(self, count: int, generator: torch.Generator, device: torch.device) -> Tensor:
        if self._bias is not None:
            return self.levels.draw(count, generator, device)
        share = compute_density_for_timestep_sampling(
            self._scheme, count, **self._shape, device=device, generator=generator
        )
        index = (share * self.num_slots).long()
        # At the very end of its range a density rounds to 1.
        slots: Tensor = self.num_slots - 1 - index.clamp(0, self.num_slots - 1)
        return slots

    def sigma(self, level: Tensor, like: Tensor) -> Tensor:
        """The sigmas of slots [B], shaped to multiply [B, ...]."""
        found = self.sigmas[level]
        return found.reshape(-1, *[1] * (like.ndim - 1))

    def noised(self, clean: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """(1 - sigma) x_0 + sigma epsilon, [B, ...]."""
        sigma = self.sigma(level, clean)
        return (1.0 - sigma) * clean + sigma * noise

    def predict(self, predict: VelocityPredictor, draw: Draw) -> Tensor:
        """The velocity of a draw, or x_0 = x_t - sigma v where that is what the loss is of."""
        noisy = self.noised(draw.clean, draw.noise, draw.level)
        velocity = predict(noisy, self.timesteps[draw.level])
        if not self._preconditioned:
            return velocity
        return velocity * -self.sigma(draw.level, velocity) + noisy

    def predict_noise(self, predict: VelocityPredictor, noisy: Tensor, level: Tensor) -> Tensor:
        """Epsilon = x_t + (1 - sigma) v, [B, ...] in float32."""
        velocity = predict(noisy, self.timesteps[level]).float()
        return noisy.float() + (1.0 - self.sigma(level, velocity)) * velocity

    def loss(self, prediction: Tensor, draw: Draw) -> SampleLoss:
        """Mean squared error of each sample's prediction."""
        target = draw.clean if self._preconditioned else draw.noise - draw.clean
        sigmas = self.sigmas[draw.level]
        weight: Tensor = compute_loss_weighting_for_sd3(self._scheme, sigmas)
        return SampleLoss(squared_error(prediction, target), weight.float(), draw.level)


def density_of_slots(
    slots: int, scheme: str, logit_mean: float, logit_std: float, mode_scale: float
) -> Tensor:
    """Shares of the draws below every slot, [slots + 1] in float64, from 0 to 1.

    Args:
        slots: T.
        scheme, logit_mean, logit_std, mode_scale: of
            `diffusers.training_utils.compute_density_for_timestep_sampling`.
    """
    # A draw u has slot T - 1 - floor(u T): below slot s lies u >= 1 - s / T.
    bounds = 1 - torch.arange(slots + 1, dtype=torch.float64) / slots
    if scheme == "logit_normal":
        above: Tensor = torch.special.ndtr((torch.logit(bounds) - logit_mean) / logit_std)
        return 1 - above
    if scheme == "mode":
        drawn = torch.linspace(0, 1, _GRID, dtype=torch.float64)
        u = 1 - drawn - mode_scale * (torch.cos(torch.pi * drawn / 2) ** 2 - 1 + drawn)
        # u falls as what is drawn rises.
        return drawn[torch.searchsorted(-u, -bounds).clamp(max=_GRID - 1)]
    return 1 - bounds


class EulerSteps:
    """Euler's steps along the velocity; see `base.SamplingSteps`.

    Args:
        scheduler: with its timesteps set.
        predict: (encoded, noisy [B, ...], timesteps [B]) -> velocity in float32.
    """

    def __init__(
        self,
        scheduler: FlowMatchEulerDiscreteScheduler,
        predict: Callable[[Encoded, Tensor, Tensor], Tensor],
    ) -> None:
        self._scheduler: Any = scheduler
        self._predict = predict
        self.timesteps: Tensor = scheduler.timesteps

    def predict(self, encoded: Encoded, noisy: Tensor, timestep: Tensor) -> Tensor:
        """The velocity."""
        return self._predict(encoded, noisy, timestep.to(noisy.device).expand(len(noisy)))

    def as_noise(self, change: Tensor, timestep: Tensor) -> Tensor:
        """(1 - sigma) times the change of the velocity."""
        sigma = float(timestep) / int(self._scheduler.config.num_train_timesteps)
        return (1.0 - sigma) * change

    def advance(self, noisy: Tensor, prediction: Tensor, timestep: Tensor) -> Tensor:
        """x_t + (sigma' - sigma) v."""
        earlier: Tensor = self._scheduler.step(prediction, timestep, noisy).prev_sample
        return earlier
