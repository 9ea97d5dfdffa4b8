"""Checks an uploaded picture, and notes what the tray shows of it."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

from memshield.data.images import BadImage, open_image, to_mode
from memshield.data.scan import Scanned, scan_picture
from memshield.errors import UserError
from memshield.ui.new.uploads.files import FIELD

# Formats that Pillow decodes itself; for PostScript, for example, it runs another program.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
_MOVING = ("PNG", "WEBP", "GIF", "TIFF")
"""Formats whose frames are an animation, or pages; cameras store previews as frames of a JPEG."""
SIDE = 192
"""Longer side of a thumbnail, in pixels."""


@dataclass(frozen=True)
class CheckedPicture:
    """A picture that can be trained on.

    Attributes:
        width, height: in pixels, upright.
        frames: whether it has several, of which the first is used.
        sha256: of its pixels; see `memshield.data.scan`.
        colours: bytes of the thumbnail that duplicates are found by.
        thumbnail: a small WebP of it.
    """

    width: int
    height: int
    frames: bool
    sha256: str
    colours: bytes
    thumbnail: bytes


def check_picture(content: bytes, name: str) -> CheckedPicture:
    """Decode a picture as training will.

    Raises:
        UserError: it cannot be decoded, or has too many pixels.
    """
    if not content:
        raise UserError(FIELD, f"{name} is empty", "Leave it out.")
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as opened:
            frames = opened.format in _MOVING and bool(getattr(opened, "is_animated", False))
        image = to_mode(open_image(content), "RGB")
    except UnidentifiedImageError:
        raise UserError(
            FIELD, f"{name} is not a picture", "Use PNG, JPEG, WebP, BMP, GIF or TIFF."
        ) from None
    except BadImage as error:
        words = " ".join(str(error).split())[:200]
        # Pillow's words for a file that ends too early.
        cut = "truncated" in words or isinstance(error, EOFError)
        problem = f"{name} is cut off" if cut else f"{name} cannot be decoded ({words})"
        raise UserError(FIELD, problem, "Save it again, or leave it out.") from None
    scanned = scan_picture(image)
    assert isinstance(scanned, Scanned)  # it is decoded already
    small = io.BytesIO()
    lossless = max(image.size) <= SIDE // 2
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    image.save(small, "WEBP", quality=82, lossless=lossless, method=2)
    colours = np.rint(scanned.thumbnail * 255).astype(np.uint8).tobytes()
    return CheckedPicture(
        scanned.width, scanned.height, frames, scanned.sha256, colours, small.getvalue()
    )
