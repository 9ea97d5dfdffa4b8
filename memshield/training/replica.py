"""The one trainable copy on the device, and what every shard keeps between its turns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers.training_utils import EMAModel
from safetensors import safe_open
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from memshield.config.file import Config
from memshield.training.anti_gradient import LossBank
from memshield.training.checkpoint import Checkpoint, CheckpointFile, RankPosition, stream
from memshield.training.ensemble import State
from memshield.training.moments import Moments, of_optimizer
from memshield.training.setup import Setup

EMA = "ema."
"""Prefix of the moving average of a parameter, beside the parameter's own name."""


class Replica:
    """The trained parameters, overwritten by every proxy in turn, and their moving average.

    Args:
        parameters: by name.
        config: `use_ema`, `ema_decay` and `num_shards`.

    Attributes:
        shard: whose proxy the parameters are now; None outside a shard's turn.
    """

    def __init__(self, parameters: dict[str, nn.Parameter], config: Config) -> None:
        self.parameters = parameters
        self.shard: Shard | None = None
        self._many = config.num_shards > 1
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
    def overwrite(self, values: Iterable[tuple[str, Tensor]]) -> None:
        """Copy values into the live tensors, one at a time."""
        live = self.tensors()
        for name, tensor in values:
            live[name].copy_(tensor)

    def parts(self, at: RankPosition) -> dict[str, CheckpointFile]:
        """The aggregate that a round starts from, and the proxy of the shard whose turn it is."""

        def write() -> tuple[State, dict[str, str]]:
            return self.tensors(), {}

        parts = {}
        if at.is_first and (at.place is None or self._many):
            # Inside a round the aggregate is no longer here: its file is linked.
            parts["start"] = CheckpointFile(
                f"start-{at.round}", write if at.place is None else None
            )
        if self.shard is not None:
            version = f"proxy-{self.shard.number}-{self.shard.steps}"
            parts[f"proxy-{at.rank}"] = CheckpointFile(version, write)
        return parts

    def load(self, checkpoint: Checkpoint, at: RankPosition) -> None:
        """Go on with the proxy or, between two rounds, with the aggregate."""
        name = "start" if at.place is None else f"proxy-{at.rank}"
        if checkpoint.has(name):
            self.overwrite(stream(checkpoint.path(name)))

    def start(self, checkpoint: Checkpoint, round: int) -> Iterator[tuple[str, Tensor]]:
        """The aggregate that a round started from, a part of it in memory at a time."""
        path = checkpoint.find(f"start-{round}")
        assert path is not None, "every checkpoint of an ensemble's round holds its start"
        return stream(path)

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
        resets: every turn starts with a fresh optimizer.

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
        resets: bool = False,
    ) -> None:
        self.number = number
        self.members = members
        self.bank = bank
        self.draws = np.zeros(len(members), dtype=np.int64)
        self.skips = np.zeros(len(members), dtype=np.int64)
        self.steps = 0
        self.optimizer_steps = 0
        self._moments = Moments(scratch)
        self._scale: dict[str, Any] = {}
        self._resets = resets
        self._turn: tuple[Optimizer, GradScaler] | None = None

    @classmethod
    def of(cls, setup: Setup, number: int) -> Shard:
        """Shard `number` of a run, at its beginning."""
        config, family = setup.config, setup.family
        bank = LossBank(
            family.num_slots, config.loss_bank_bins, config.loss_ema_decay,
            config.loss_bank_debias, family.device,
        )  # fmt: skip
        on_disk = config.shard_optimizer_offload == "disk" and config.num_shards > 1
        scratch = setup.run.moments / f"shard-{number}.safetensors" if on_disk else None
        resets = config.shard_optimizer == "reset"
        return cls(number, setup.examples.of_shard(number), bank, scratch, resets)

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

    def begin_turn(self, optimizer: Optimizer, scaler: GradScaler) -> None:
        """Lend the moments and the gradient scale to those who take the steps."""
        self._moments.give(optimizer)
        if self._scale:
            scaler.load_state_dict(self._scale)
        self._turn = optimizer, scaler

    def end_turn(self) -> None:
        """Take the moments and the gradient scale back, or forget the moments.

        The scale is the precision's and not the basis's: from its first value on, it would cost
        some steps of every turn.
        """
        assert self._turn is not None
        optimizer, scaler = self._turn
        self._turn = None
        self._moments.take(optimizer)
        self._scale = scaler.state_dict()
        if self._resets:
            self._moments.clear()

    def parts(self, at: RankPosition) -> dict[str, CheckpointFile]:
        """Records, bank and moments, once a step was taken."""
        if self.steps == 0:
            return {}
        version = f"shard-{self.number}-{self.steps}"
        if self._turn is not None and self._resets:
            version += "-active"  # when the turn ends, the moments are forgotten
        return {f"shard-{self.number}": CheckpointFile(version, self._state)}

    def _state(self) -> tuple[State, dict[str, str]]:
        moments, plain = self._moments.read()
        scale = self._scale
        if self._turn is not None:
            optimizer, scaler = self._turn
            moments, plain = of_optimizer(optimizer)
            scale = scaler.state_dict()
        tensors: State = {
            "draws": torch.from_numpy(self.draws),
            "skips": torch.from_numpy(self.skips),
            **{f"bank.{name}": tensor for name, tensor in self.bank.state_dict().items()},
            **{f"optimizer.{name}": tensor for name, tensor in moments.items()},
        }
        notes = {
            "steps": self.steps,
            "optimizer_steps": self.optimizer_steps,
            "scaler": scale,
            "optimizer": plain,
        }
        return tensors, {"shard": json.dumps(notes)}

    def load(self, checkpoint: Checkpoint, at: RankPosition) -> None:
        """Take over records, bank and moments."""
        if not checkpoint.has(f"shard-{self.number}"):
            return
        moments: State = {}
        with safe_open(checkpoint.path(f"shard-{self.number}"), framework="pt") as file:
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
        self._scale = notes["scaler"]
