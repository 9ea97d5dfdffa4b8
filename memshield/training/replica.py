"""The one trainable copy on the device, and what every shard keeps between its turns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers.training_utils import EMAModel
from safetensors import safe_open
from torch import Tensor, nn
from torch.optim import Optimizer

from memshield.config.file import Config
from memshield.training.anti_gradient import LossBank
from memshield.training.ensemble import State
from memshield.training.moments import Moments, of_optimizer

EMA = "ema."
"""Prefix of the moving average of a parameter, beside the parameter's own name."""
_MAPPED_BYTES = 64 * 2**20


def stream(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a safetensors file by name, a part of the file in memory at a time."""
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
    while names:
        # Pages of a mapped file count as resident until it is closed: opened anew for each
        # part. Opening for each tensor would read the file's index too often.
        with safe_open(path, framework="pt") as file:
            read = 0
            while names and read < _MAPPED_BYTES:
                name = names.pop()
                tensor = file.get_tensor(name)
                read += tensor.nbytes
                yield name, tensor


class Replica:
    """The trained parameters, overwritten by every proxy in turn, and their moving average.

    Args:
        parameters: by name.
        config: `use_ema` and `ema_decay`.
    """

    def __init__(self, parameters: dict[str, nn.Parameter], config: Config) -> None:
        self.parameters = parameters
        self.ema: EMAModel | None = None
        if config.use_ema:
            # Its decay warms up as (1 + s) / (10 + s): a short run would not outlive 0.9999.
            on_gpu = next(iter(parameters.values())).is_cuda
            self.ema = EMAModel(self.list(), decay=config.ema_decay, foreach=on_gpu)

    def list(self) -> list[nn.Parameter]:
        """The parameters in order."""
        return list(self.parameters.values())

    def tensors(self) -> State:
        """All that is averaged over the shards: parameters and their moving averages, live."""
        state: State = {name: p.detach() for name, p in self.parameters.items()}
        if self.ema is not None:
            averages = zip(self.parameters, self.ema.shadow_params, strict=True)
            state |= {EMA + name: tensor for name, tensor in averages}
        return state

    @torch.no_grad()
    def load(self, state: State) -> None:
        """Copy values into the live tensors."""
        for name, tensor in self.tensors().items():
            tensor.copy_(state[name])

    @torch.no_grad()
    def load_file(self, path: Path) -> None:
        """Copy values from a safetensors file, a part of it in memory at a time."""
        live = self.tensors()
        for name, tensor in stream(path):
            live[name].copy_(tensor)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The moving average in place of the parameters, which come back afterwards."""
        if self.ema is None:
            yield
            return
        self.ema.store(self.list())
        try:
            self.ema.copy_to(self.list())
            yield
        finally:
            self.ema.restore(self.list())


class Shard:
    """What one shard keeps between its turns.

    Args:
        number: k.
        members: [n_k] example indices.
        bank: its loss bank, on the device (a few kilobytes).
        scratch: a file for its moments between turns, or None to hold them in host memory.

    Attributes:
        draws, skips: [n_k] how often each picture was drawn, and skipped.
        steps: it has taken, over all rounds.
        optimizer_steps: those that moved the weights; the warm-up of the moving average.
    """

    def __init__(
        self,
        number: int,
        members: npt.NDArray[np.int64],
        bank: LossBank,
        scratch: Path | None = None,
    ) -> None:
        self.number = number
        self.members = members
        self.bank = bank
        self.draws = np.zeros(len(members), dtype=np.int64)
        self.skips = np.zeros(len(members), dtype=np.int64)
        self.steps = 0
        self.optimizer_steps = 0
        self.scaler: dict[str, Any] = {}
        self._moments = Moments(scratch)

    def record(self, index: npt.NDArray[np.int64], kept: npt.NDArray[np.bool_]) -> None:
        """Count a step's draws and skips.

        Args:
            index: [B] example indices, all of this shard.
            kept: [B].
        """
        places = np.searchsorted(self.members, index)
        np.add.at(self.draws, places, 1)
        np.add.at(self.skips, places[~kept], 1)
        self.steps += 1

    def forget_moments(self) -> None:
        """Start the next turn with a fresh optimizer."""
        self._moments.clear()
        self.scaler = {}

    def give_moments(self, optimizer: Optimizer) -> None:
        """Put this shard's moments into the optimizer."""
        self._moments.give(optimizer)

    def take_moments(self, optimizer: Optimizer) -> None:
        """Take the moments out of the optimizer."""
        self._moments.take(optimizer)

    def state(self, optimizer: Optimizer | None = None) -> tuple[State, dict[str, str]]:
        """Tensors and metadata to save.

        Args:
            optimizer: holds the moments when it is this shard's turn.
        """
        moments, plain = of_optimizer(optimizer) if optimizer else self._moments.read()
        tensors: State = {
            "draws": torch.from_numpy(self.draws),
            "skips": torch.from_numpy(self.skips),
            **{f"bank.{name}": tensor for name, tensor in self.bank.state_dict().items()},
            **{f"optimizer.{name}": tensor for name, tensor in moments.items()},
        }
        notes = {
            "steps": self.steps,
            "optimizer_steps": self.optimizer_steps,
            "scaler": self.scaler,
            "optimizer": plain,
        }
        return tensors, {"shard": json.dumps(notes)}

    def load(self, path: Path) -> None:
        """Take over what `state` gave, from a safetensors file."""
        moments: State = {}
        with safe_open(path, framework="pt") as file:
            notes = json.loads(file.metadata()["shard"])
            for name in file.keys():  # noqa: SIM118
                kind, _, rest = name.partition(".")
                if kind == "optimizer":
                    moments[rest] = file.get_tensor(name)
            self.bank.load_state_dict(
                {key: file.get_tensor(f"bank.{key}") for key in self.bank.state_dict()}
            )
            self.draws[:] = file.get_tensor("draws").numpy()
            self.skips[:] = file.get_tensor("skips").numpy()
        self._moments.write(moments, notes["optimizer"])
        self.steps = notes["steps"]
        self.optimizer_steps = notes["optimizer_steps"]
        self.scaler = notes["scaler"]
