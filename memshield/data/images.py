"""Stored pictures, in whatever form they come, to arrays of one size and mode."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from memshield.data.archives import ZipMember

Mode = Literal["L", "RGB"]
BadImage = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    RuntimeError,  # AVIF
    Image.DecompressionBombError,
)
"""What Pillow raises for pictures that it cannot decode (truncated, unknown, hostile size)."""
Image.init()  # so that Pillow knows which of them it was built with
FORMATS = tuple(
    name
    for name in ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "GIF", "TIFF", "PPM", "JPEG2000")
    if name in Image.OPEN
)
"""Formats that are decoded. Others start programs (EPS Ghostscript), or nobody trains on them."""


@dataclass(frozen=True)
class NoPicture:
    """What stands for a picture that is not read.

    Attributes:
        reason: why, in words.
    """

    reason: str


def open_image(stored: Any) -> Image.Image:
    """Decode what a dataset stores for a picture.

    Args:
        stored: encoded bytes, a path, {"bytes": ..., "path": ...} as the datasets library keeps
            it, a picture in a zip file, an array [H, W] or [H, W, C], or a picture that is open
            already.

    Raises:
        BadImage: it cannot be decoded.
    """
    if isinstance(stored, dict):
        stored = stored.get("bytes") or stored.get("path")
    if isinstance(stored, NoPicture):
        raise ValueError(stored.reason)
    if isinstance(stored, ZipMember):
        stored = stored.read()
    if stored is None:
        raise ValueError("there is no picture")
    if isinstance(stored, np.ndarray):
        one_channel = stored.ndim == 3 and stored.shape[2] == 1
        image = Image.fromarray(stored[:, :, 0] if one_channel else stored)
    elif isinstance(stored, Image.Image):
        image = stored
    else:
        source = io.BytesIO(stored) if isinstance(stored, bytes) else Path(stored)
        image = Image.open(source, formats=FORMATS)
        # Pillow only warns up to twice its limit, and warnings cannot be caught by thread.
        if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
            raise ValueError(
                f"{image.width} x {image.height} pixels are more than is safe to decode"
            )
    image.load()
    return image


def to_mode(image: Image.Image, mode: Mode) -> Image.Image:
    """A picture as a viewer shows it: upright, first frame, over white where transparent.

    16-bit and floating-point grey is scaled to 8 bits (Pillow's own conversion would clip it).
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert(mode)


def _eight_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.float64)
    if image.mode == "F":
        top = 1.0 if values.max(initial=0.0) <= 1.0 else 255.0
    else:
        # Pillow opens 16-bit files as I;16 or, in older formats, as 32-bit I.
        top = 65535.0 if image.mode != "I" or values.max(initial=0.0) > 255 else 255.0
    return Image.fromarray(np.clip(np.rint(values / top * 255.0), 0, 255).astype(np.uint8))


def resize_shorter_side(image: Image.Image, resolution: int) -> Image.Image:
    """Scale so that the shorter side has `resolution` pixels (bilinear, with antialiasing)."""
    width, height = image.size
    scale = resolution / min(width, height)
    size = (max(resolution, round(width * scale)), max(resolution, round(height * scale)))
    return image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)


def crop(image: Image.Image, resolution: int, left: int, top: int) -> npt.NDArray[np.uint8]:
    """The square of side `resolution` at (left, top) as uint8 [C, H, W]."""
    pixels = np.asarray(image.crop((left, top, left + resolution, top + resolution)))
    return np.ascontiguousarray(np.atleast_3d(pixels).transpose(2, 0, 1))


def centre(image: Image.Image, resolution: int) -> tuple[int, int]:
    """(left, top) of the central square of side `resolution`."""
    width, height = image.size
    return (width - resolution) // 2, (height - resolution) // 2
