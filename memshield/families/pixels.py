"""Between 8-bit pictures and the numbers that networks take and give."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def to_network(pictures: Tensor, device: torch.device) -> Tensor:
    """uint8 pictures [B, C, H, W] as float32 in [-1, 1], on the device."""
    return pictures.to(device, non_blocking=True).float().div_(127.5).sub_(1.0)


def from_network(pixels: Tensor) -> npt.NDArray[np.float32]:
    """Pixels [B, C, H, W] in [-1, 1] as float32 arrays [B, H, W, C] in [0, 1].

    Values beyond the range are cut off; those that are not finite become NaN.
    """
    values = (pixels.float() / 2 + 0.5).clamp(0, 1)
    values = values.masked_fill(~pixels.isfinite(), torch.nan)
    return values.permute(0, 2, 3, 1).cpu().numpy()


def to_bytes(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Values in [0, 1] as uint8 of the same shape; NaN becomes black."""
    return np.rint(np.nan_to_num(values) * 255).astype(np.uint8)
