"""Which noise levels a step draws: all alike, or a share of the draws below one of them.

Without captions, copies are learned at low to medium noise while quality is still being learned at
high noise, so drawing fewer low levels puts memorization off and costs no time. Compare arXiv
2602.17846, which names a danger zone of medium levels that should be undertrained. With captions
it is the other way round: they tell which picture is meant where noise hides it (compare arXiv
2407.21720, which detects memorized captions by the first step of sampling).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from memshield.config.file import Config
from memshield.errors import UserError


@dataclass(frozen=True)
class TimestepBias:
    """How often low noise is drawn.

    Attributes:
        share: of the draws below `level`, 0 to 1.
        level: noise over signal, which means the same in every schedule.
    """

    share: float
    level: float

    @classmethod
    def of(cls, config: Config) -> TimestepBias | None:
        """The bias that a config asks for, if any."""
        if config.timestep_bias_share is None:
            return None
        return cls(config.timestep_bias_share, config.timestep_bias_level)


class LevelDraws:
    """Draws the slots of a batch.

    Args:
        noise_levels: [T] noise over signal of every slot, rising.
        bias: of the draws; None draws all slots alike.
        density: [T + 1] shares of the unbiased draws below every slot, where they are not alike.
            On each side of its level, a bias draws in these proportions.

    Raises:
        UserError: the level of the bias lies outside the schedule, so that one side is empty.
    """

    def __init__(
        self,
        noise_levels: Tensor,
        bias: TimestepBias | None = None,
        density: Tensor | None = None,
    ) -> None:
        self._slots = len(noise_levels)
        self._density = density
        self._bias = bias
        self.bound = 0
        if bias is not None:
            self.bound = int(torch.searchsorted(noise_levels, bias.level))
            if not 0 < self.bound < self._slots:
                raise UserError(
                    "timestep_bias_level",
                    f"{bias.level:g} lies outside this model's noise levels, "
                    f"{float(noise_levels[0]):.3g} to {float(noise_levels[-1]):.3g}",
                    "Give a level between them.",
                )

    def draw(self, count: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """Slots [count] as int64 on the device: t < bound for a share of them, t >= bound else."""
        if self._bias is None:
            return torch.randint(
                0, self._slots, (count,), generator=generator, device=device
            )  # what a plain diffusers loop draws
        side, place = torch.rand((2, count), generator=generator, device=device, dtype=torch.double)
        if self._density is not None:
            shares = self._density
            divide = shares[self.bound]
            chosen = torch.where(
                side < self._bias.share, place * divide, divide + place * (1 - divide)
            )
            slots = torch.searchsorted(shares, chosen, right=True) - 1
            return slots.clamp(0, self._slots - 1)
        below = place * self.bound
        above = self.bound + place * (self._slots - self.bound)
        return torch.where(side < self._bias.share, below, above).long()
