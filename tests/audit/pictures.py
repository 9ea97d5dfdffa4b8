"""Pictures made in code, and copies of them that are planted among others."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import gaussian_filter

Pictures = npt.NDArray[np.uint8]
KINDS = {"exact": 37, "mirrored": 20, "noised": 20, "jpeg": 20}


class Planted(NamedTuple):
    """Fresh pictures with copies of training pictures among them.

    Attributes:
        pictures: [N, 3, H, W].
        source: [N] training picture that it is a copy of, -1 if fresh.
        kind: [N] of copy, empty if fresh.
    """

    pictures: Pictures
    source: npt.NDArray[np.int64]
    kind: npt.NDArray[np.str_]


def smooth_fields(count: int, generator: np.random.Generator, side: int = 32) -> Pictures:
    """Pictures [count, 3, side, side] of soft blobs: smoothed noise, over the range of 8 bits."""
    noise = generator.normal(size=(count, 3, side, side))
    smooth = gaussian_filter(noise, sigma=(0, 0, side / 8, side / 8), mode="reflect")
    smooth /= smooth.std(axis=(1, 2, 3), keepdims=True)
    pictures: Pictures = np.clip(np.rint(127.5 + 55 * smooth), 0, 255).astype(np.uint8)
    return pictures


def plant(training: Pictures, count: int, generator: np.random.Generator) -> Planted:
    """`count` pictures in random order, as many of them copies of each kind as `KINDS` says."""
    kinds = np.repeat(list(KINDS), list(KINDS.values()))
    chosen = generator.choice(len(training), len(kinds), replace=False)
    copies = [
        copy(training[i], kind, generator) for i, kind in zip(chosen, kinds.tolist(), strict=True)
    ]
    fresh = smooth_fields(count - len(kinds), generator, training.shape[3])
    order = generator.permutation(count)
    pictures = np.concatenate([np.stack(copies), fresh])
    source = np.concatenate([chosen, np.full(len(fresh), -1)])
    kind = np.concatenate([kinds, np.full(len(fresh), "")])
    return Planted(pictures[order], source[order], kind[order])


def copy(picture: Pictures, kind: str, generator: np.random.Generator) -> Pictures:
    """A copy [3, H, W]: exact, mirrored, noised by 4 grey levels, or through JPEG at 75."""
    if kind == "mirrored":
        return picture[:, :, ::-1]
    if kind == "noised":
        noise = generator.normal(scale=4.0, size=picture.shape)
        return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)
    if kind == "jpeg":
        file = io.BytesIO()
        Image.fromarray(picture.transpose(1, 2, 0)).save(file, "JPEG", quality=75)
        return np.asarray(Image.open(file)).transpose(2, 0, 1)
    return picture
