"""Stored pictures, in whatever form they come, to arrays of one size and mode."""

from __future__ import annotations

import io
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from memshield.config.buckets import Size
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
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By the EXIF orientation (TIFF 6.0, tag 274)."""
_ON_THE_SIDE = (5, 6, 7, 8)
"""Orientations under which width and height change places."""
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


def size_of(stored: Any) -> Size:
    """Height and width of a picture, from its file's header alone; upright or not.

    Args:
        stored: see `open_image`.

    Raises:
        BadImage: it cannot be read.
    """
    image = _opened(stored)
    size = image.height, image.width
    if image is not stored:
        image.close()
    return size


def open_image(stored: Any) -> Image.Image:
    """Decode what a dataset stores for a picture.

    Args:
        stored: encoded bytes, a path, {"bytes": ..., "path": ...} as the datasets library keeps
            it, a picture in a zip file, an array [H, W] or [H, W, C], or a picture that is open
            already.

    Raises:
        BadImage: it cannot be decoded.
    """
    image = _opened(stored)
    image.load()
    return image


def _opened(stored: Any) -> Image.Image:
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
    return image


def to_mode(image: Image.Image, mode: Mode) -> Image.Image:
    """A picture as a viewer shows it: upright, first frame, over white where transparent.

    16-bit and floating-point grey is scaled to 8 bits (Pillow's own conversion would clip it).
    """
    image = _upright(image)
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert(mode)


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF data say; as it is stored where they say nothing that can be read.

    `ImageOps.exif_transpose` also writes all EXIF data anew, which fails on those of many cameras.
    """
    method = _TURNS.get(_orientation(image))
    return image if method is None else image.transpose(method)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an opened picture once it is turned as its EXIF data say."""
    width, height = image.size
    return (height, width) if _orientation(image) in _ON_THE_SIDE else (width, height)


def _orientation(image: Image.Image) -> int:
    """That of the EXIF data; 1, as it is stored, where they say nothing that can be read."""
    try:
        turn = image.getexif().get(ExifTags.Base.Orientation)
    except (*BadImage, struct.error, TypeError, AttributeError, KeyError):
        return 1
    return turn if isinstance(turn, int) else 1


def _eight_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.float64)
    if image.mode == "F":
        top = 1.0 if values.max(initial=0.0) <= 1.0 else 255.0
    else:
        # Pillow opens 16-bit files as I;16 or, in older formats, as 32-bit I.
        top = 65535.0 if image.mode != "I" or values.max(initial=0.0) > 255 else 255.0
    return Image.fromarray(np.clip(np.rint(values / top * 255.0), 0, 255).astype(np.uint8))


def covering(width: int, height: int, size: Size) -> tuple[int, int]:
    """Width and height of a picture once it is scaled to just cover a size."""
    scale = max(size[0] / height, size[1] / width)
    return max(size[1], round(width * scale)), max(size[0], round(height * scale))


def resize_to_cover(image: Image.Image, size: Size) -> Image.Image:
    """Scale a picture to just cover a size (bilinear, with antialiasing)."""
    covered = covering(*image.size, size)
    return image if covered == image.size else image.resize(covered, Image.Resampling.BILINEAR)


def crop(image: Image.Image, size: Size, left: int, top: int) -> npt.NDArray[np.uint8]:
    """The part of a size at (left, top) as uint8 [C, H, W]."""
    pixels = np.asarray(image.crop((left, top, left + size[1], top + size[0])))
    return np.ascontiguousarray(np.atleast_3d(pixels).transpose(2, 0, 1))


def centre(image: Image.Image, size: Size) -> tuple[int, int]:
    """(left, top) of the central part of a size."""
    width, height = image.size
    return (width - size[1]) // 2, (height - size[0]) // 2
