"""Text encoders and the network take turns on the device: both at once may not fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

Who = Literal["network", "text"]


class DeviceTurns:
    """Keeps either the network on the device or its text encoders, and the others on the host.

    On a CPU all of them share the host's memory, and nothing is moved.

    Args:
        network: that is trained; it is on the device.
        text: encoders of captions; they are on the host.
        device: that computes.
        host: where the others wait.
    """

    def __init__(
        self,
        network: nn.Module,
        text: Sequence[nn.Module],
        device: torch.device,
        host: torch.device | str = "cpu",
    ) -> None:
        self._parts: dict[Who, Sequence[nn.Module]] = {"network": (network,), "text": text}
        self._device = device
        self._host = torch.device(host)
        self._there: Who = "network"

    def take(self, who: Who) -> None:
        """Have these on the device, and nothing else of the two."""
        if who == self._there or self._device == self._host:
            return
        for part in self._parts[self._there]:
            part.to(self._host)
        for part in self._parts[who]:
            part.to(self._device)
        self._there = who
