"""An outer optimizer on the round's mean difference, for full training.

DiLoCo (Douillard et al., arXiv 2311.08105, algorithm 1): the difference between the round's
start and the mean of the proxies is taken as a gradient, and followed with Nesterov momentum.
Averaging K proxies moves the aggregate about K times less a sample than plain training does;
the momentum gives speed back.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from memshield.config.file import Config
from memshield.training.checkpoint import Checkpoint, CheckpointFile, RankPosition, stream
from memshield.training.ensemble import State


class OuterStep:
    """theta <- theta_0 - lr (g + mu b), where g = theta_0 - mean and b <- mu b + g.

    The arithmetic of torch's SGD with Nesterov momentum. Moving averages of the weights follow
    the proxies and are averaged plainly.

    Args:
        config: `outer_learning_rate` and `outer_momentum`.

    Attributes:
        momentum: b by parameter name, in host memory; empty before the first round's end.
    """

    def __init__(self, config: Config) -> None:
        self._lr = config.outer_learning_rate
        self._mu = config.outer_momentum
        self._is_plain = (self._lr, self._mu) == (1.0, 0.0)  # a step leads to the mean itself
        self.momentum: State = {}

    @torch.no_grad()
    def apply(self, start: Iterable[tuple[str, Tensor]], mean: State, names: set[str]) -> None:
        """Replace the mean of the parameters by the outer step's result, in place.

        Args:
            start: theta_0 by name, one tensor at a time.
            mean: of the proxies.
            names: of the parameters; anything else in `mean` stays as it is.
        """
        if self._is_plain:
            return
        for name, begun in start:
            if name not in names:
                continue
            theta = begun.to(mean[name].device)
            gradient = theta - mean[name]
            if self._mu:
                earlier = self.momentum.get(name)
                if earlier is None:
                    momentum = gradient.clone()
                else:
                    momentum = earlier.to(theta.device) * self._mu + gradient
                self.momentum[name] = momentum.to("cpu")
                gradient.add_(momentum, alpha=self._mu)
            mean[name].copy_(theta.sub_(gradient, alpha=self._lr))

    def parts(self, at: RankPosition) -> dict[str, CheckpointFile]:
        """The momentum, which changes at a round's end only."""
        if not at.is_first or not self.momentum:
            return {}
        return {"momentum": CheckpointFile(f"momentum-{at.round}", lambda: (self.momentum, {}))}

    def load(self, checkpoint: Checkpoint, at: RankPosition) -> None:
        """Go on with the momentum."""
        if checkpoint.has("momentum"):
            self.momentum = dict(stream(checkpoint.path("momentum")))
