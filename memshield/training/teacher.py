"""What a stopped noise level goes on to learn: the model's own prediction when it stopped.

The network is shared by all noise levels, so a level that is left alone would drift with the
others. Its samples regress to the prediction of a frozen copy instead, which has no pictures in
it that it did not have then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from memshield.families.base import Draw, Encoded, Family, squared_error
from memshield.training.ensemble import State
from memshield.training.replica import Replica


class Teacher:
    """A frozen copy of the trained parameters: of all of them, or of a LoRA's.

    Args:
        family: whose network is run with the copy in place.
        replica: the trained parameters.

    Attributes:
        state: the copy by parameter name, on the device; empty before the first one is taken.
    """

    def __init__(self, family: Family, replica: Replica) -> None:
        self._family = family
        self._replica = replica
        self.state: State = {}

    def copy(self) -> None:
        """Take the weights that would be saved now: the moving average where one is kept."""
        with self._replica.averaged():
            live = self._replica.parameters.items()
            self.state = {name: p.detach().clone() for name, p in live}

    def load(self, state: State) -> None:
        """Take over what a checkpoint holds of `state`.

        It is copied into memory like that of the parameters. Tensors of a mapped file have other
        strides and another alignment, with which kernels sum in another order: a resumed run
        would end with other bits.
        """
        live = self._replica.parameters
        self.state = {name: torch.empty_like(live[name]).copy_(t) for name, t in state.items()}

    def predict(self, encoded: Encoded, draw: Draw) -> Tensor:
        """What the copy predicts for a batch, [B, ...], in evaluation mode, without gradients."""
        with self._in_place(), self._family.running():
            return self._family.predict(encoded, draw)

    @contextmanager
    def _in_place(self) -> Iterator[None]:
        """The copy's memory behind the network's parameters; theirs comes back afterwards."""
        parameters = self._replica.parameters
        live = {name: parameter.data for name, parameter in parameters.items()}
        try:
            for name, parameter in parameters.items():
                parameter.data = self.state[name]
            yield
        finally:
            for name, parameter in parameters.items():
                parameter.data = live[name]


def only(encoded: Encoded, chosen: Tensor) -> Encoded:
    """The encodings of the samples at these places ([B] bool)."""
    return {name: tensor[chosen] for name, tensor in encoded.items()}


def distilled(values: Tensor, stopped: Tensor, prediction: Tensor, taught: Tensor) -> Tensor:
    """Losses with those of stopped samples replaced by their distance to the teacher.

    Args:
        values: [B] losses against the pictures, with a graph.
        stopped: [B] bool, S of them true.
        prediction: [B, ...] of the network, with a graph.
        taught: [S, ...] of the teacher, for the stopped samples.

    Returns:
        [B] with a graph.
    """
    return values.masked_scatter(stopped, squared_error(prediction[stopped], taught))
