"""Non-leaky augmentation of pixel models: the network is told how its picture was changed.

Karras et al. (EDM), arXiv 2206.00364, appendix F.2 and table 6. Labels that say what was done
enter the time embedding through a linear map without bias. All labels are zero when pictures are
sampled, so that none comes out augmented, and the map is left behind when the model is saved.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SCALE_DEVIATION = 0.2
"""Standard deviation of the base-2 logarithm of a scale, isotropic or along one axis."""
SHIFT_DEVIATION = 0.125
"""Standard deviation of a shift, as a share of the side."""
LABELS = 9
"""Flip left to right, flip upside down, scale, rotation (2), anisotropy (2), shift (2)."""


class Augmented(NamedTuple):
    """A batch after augmentation.

    Attributes:
        pixels: [B, C, H, W].
        labels: [B, LABELS] what was done; a row of zeros where nothing was.
    """

    pixels: Tensor
    labels: Tensor


class Augmentation:
    """Augments training pictures, and tells the network.

    Args:
        network: a UNet2DModel.
        probability: of each kind of change but flips left to right, which half of all pictures
            get, as in EDM.

    Attributes:
        map: from labels to what is added to the input of the time embedding's layers; trained
            with the network and no part of it. It starts at zero, where it changes nothing.
    """

    def __init__(self, network: nn.Module, probability: float) -> None:
        embedding: Any = network.time_embedding
        first: nn.Linear = embedding.linear_1
        self._probability = probability
        self._labels: Tensor | None = None
        self.map = nn.Linear(LABELS, first.in_features, bias=False).to(first.weight.device)
        nn.init.zeros_(self.map.weight)
        embedding.register_forward_pre_hook(self._tell)

    def _tell(self, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if self._labels is None:
            return None
        return (inputs[0] + self.map(self._labels).to(inputs[0].dtype), *inputs[1:])

    @contextmanager
    def told(self, labels: Tensor | None) -> Iterator[None]:
        """The network with these labels [B, LABELS]; None is what it has when it samples."""
        self._labels = labels
        try:
            yield
        finally:
            self._labels = None

    def draw(self, pixels: Tensor, generator: torch.Generator) -> Augmented:
        """Augment a batch [B, C, H, W]; what is not drawn keeps its very pixels."""
        count, device = len(pixels), pixels.device
        chosen = torch.rand((6, count), generator=generator, device=device)
        normal = torch.randn((4, count), generator=generator, device=device)
        angle = (2 * torch.rand((2, count), generator=generator, device=device) - 1) * math.pi
        flips = (chosen[0] < 0.5).float()
        upside = (chosen[1] < self._probability / 2).float()
        does = (chosen[2:] < self._probability).float()
        scale, turn = normal[0] * does[0], angle[0] * does[1]
        stretch, axis = normal[1] * does[2], angle[1]
        shift = normal[2:] * does[3]
        labels = torch.stack(
            [
                flips, upside, scale, turn.cos() - 1, turn.sin(),
                stretch * axis.cos(), stretch * axis.sin(), shift[0], shift[1],
            ],
            dim=1,
        )  # fmt: skip
        pixels = torch.where(flips.bool().view(-1, 1, 1, 1), pixels.flip(3), pixels)
        pixels = torch.where(upside.bool().view(-1, 1, 1, 1), pixels.flip(2), pixels)
        moved = does.any(dim=0)
        warped = _warp(pixels, _places(scale, turn, stretch, axis, shift))
        return Augmented(torch.where(moved.view(-1, 1, 1, 1), warped, pixels), labels)


def _places(scale: Tensor, turn: Tensor, stretch: Tensor, axis: Tensor, shift: Tensor) -> Tensor:
    """Where each pixel of a result comes from, as affine maps [B, 2, 3] of [-1, 1] squared.

    A result is shifted last, so that its pixels are shifted back first.
    """
    along = torch.exp2(-SCALE_DEVIATION * stretch)
    stretched = (
        _rotation(axis) @ torch.diag_embed(torch.stack([along, 1 / along], 1)) @ _rotation(-axis)
    )
    linear = torch.exp2(-SCALE_DEVIATION * scale)[:, None, None] * stretched @ _rotation(-turn)
    # The side is 2 long in these coordinates.
    back = -2 * SHIFT_DEVIATION * shift.T[:, :, None]
    return torch.cat([linear, linear @ back], dim=2)


def _rotation(angle: Tensor) -> Tensor:
    """[B] angles to [B, 2, 2]."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)


def _warp(pixels: Tensor, places: Tensor) -> Tensor:
    grid = F.affine_grid(places.to(pixels.dtype), list(pixels.shape), align_corners=False)
    # Bicubic interpolation overshoots at edges, beyond what a picture can hold.
    return F.grid_sample(
        pixels, grid, mode="bicubic", padding_mode="reflection", align_corners=False
    ).clamp(-1, 1)
