"""A shard's optimizer moments while another shard is trained: in host memory, or on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from memshield.training.ensemble import State

Plain = dict[str, dict[str, Any]]
"""What an optimizer keeps of a parameter beside tensors, by the parameter's number."""


def of_optimizer(optimizer: Optimizer) -> tuple[State, Plain]:
    """An optimizer's state as flat tensors ("3.exp_avg") and plain values, not copied."""
    tensors: State = {}
    plain: Plain = {}
    seen: set[int] = set()
    for number, entry in optimizer.state_dict()["state"].items():
        for key, value in _flat(entry):
            if not isinstance(value, Tensor):
                plain.setdefault(str(number), {})[key] = value
                continue
            # The maps of 8-bit moments are shared by all parameters, which a file cannot say.
            shared = value.data_ptr() in seen
            tensors[f"{number}.{key}"] = value.clone() if shared else value
            seen.add(value.data_ptr())
    return tensors, plain


def _flat(entry: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """bitsandbytes nests 8-bit moments, to hide them from FSDP, and takes them either way."""
    for key, value in entry.items():
        if isinstance(value, dict):
            yield from value.items()
        else:
            yield key, value


def _lay_out_as_parameters(optimizer: Optimizer) -> None:
    """Give moments the strides of their parameters, which files do not keep.

    Fused AdamW goes through memory as it lies: channels-last parameters with contiguous moments
    would be moved by each other's moments.
    """
    for parameter, entry in optimizer.state.items():
        for key, value in entry.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                entry[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


class Moments:
    """Holds the state of an optimizer between two turns.

    Args:
        scratch: a file to hold it in, which is of no use to another process; None for memory.
    """

    def __init__(self, scratch: Path | None) -> None:
        self._scratch = scratch
        self._tensors: State = {}
        self._plain: Plain = {}
        self._on_disk = False

    def take(self, optimizer: Optimizer) -> None:
        """Take the state out of an optimizer, which is left without."""
        tensors, plain = of_optimizer(optimizer)
        self.write({name: tensor.cpu() for name, tensor in tensors.items()}, plain)
        optimizer.state.clear()

    def give(self, optimizer: Optimizer) -> None:
        """Put the state into an optimizer; nothing of it stays here."""
        optimizer.state.clear()
        tensors, plain = self.read()
        if tensors or plain:
            state: dict[int, dict[str, Any]] = {int(k): dict(v) for k, v in plain.items()}
            for name, tensor in tensors.items():
                number, _, key = name.partition(".")
                state.setdefault(int(number), {})[key] = tensor
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
            _lay_out_as_parameters(optimizer)
        self.clear()

    def write(self, tensors: State, plain: Plain) -> None:
        """Hold host tensors and plain values."""
        self._plain = plain
        if self._scratch is not None and tensors:
            self._scratch.parent.mkdir(exist_ok=True)
            save_file({name: t.contiguous() for name, t in tensors.items()}, self._scratch)
            self._on_disk = True
        else:
            self._tensors = tensors

    def read(self) -> tuple[State, Plain]:
        """What is held."""
        if self._on_disk and self._scratch is not None:
            return load_file(self._scratch), self._plain
        return self._tensors, self._plain

    def clear(self) -> None:
        """Hold nothing any more."""
        self._tensors, self._plain, self._on_disk = {}, {}, False
        if self._scratch is not None:
            self._scratch.unlink(missing_ok=True)
