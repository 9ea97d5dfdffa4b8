"""Weights that a run has saved, back into the network that they came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from memshield.errors import UserError


@torch.no_grad()
def load_weights(network: nn.Module, folder: Path) -> None:
    """Copy the weights of a network that `save_pretrained` wrote, a tensor at a time.

    Args:
        network: it keeps its device, order and precision.
        folder: with one safetensors file, or several that hold a part each.

    Raises:
        UserError: the weights are not there, or are those of another network.
    """
    live, files = network.state_dict(), sorted(folder.glob("*.safetensors"))
    shapes: dict[str, list[int]] = {}
    for path in files:
        with _opened(path) as file:
            shapes |= {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    if shapes != {name: list(tensor.shape) for name, tensor in live.items()}:
        raise wrong_weights(folder)
    for path in files:
        with _opened(path) as file:
            for name in file.keys():  # noqa: SIM118
                live[name].copy_(file.get_tensor(name))


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except SafetensorError:
        raise UserError(
            str(path), "is damaged: it is no whole safetensors file", "Bring a whole copy here."
        ) from None


def wrong_weights(folder: Path) -> UserError:
    """What is said of a folder without the weights that are needed."""
    return UserError(
        str(folder),
        "holds no weights of this run's model",
        "Give the model or a round of the run whose config is used.",
    )
