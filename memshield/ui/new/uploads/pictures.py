"""Whether an uploaded file is a picture that training can decode."""

from __future__ import annotations

import io
from pathlib import PurePosixPath

from PIL import Image, UnidentifiedImageError

from memshield.data.images import BadImage, open_image, to_mode
from memshield.errors import UserError
from memshield.ui.new.uploads.files import FIELD

# Formats that Pillow decodes by itself: PostScript, for one, it hands to another program.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def is_picture_name(name: str) -> bool:
    """Whether a file is to be a picture, by the end of its name."""
    return PurePosixPath(name).suffix.lower() in _ENDINGS


def require_picture(content: bytes, name: str) -> None:
    """Decode a picture as training will.

    Raises:
        UserError: it cannot be decoded, or is too large once it is.
    """
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS):
            pass
        to_mode(open_image(content), "RGB")
    except UnidentifiedImageError:
        raise UserError(
            FIELD,
            f"{name} is broken, or no picture",
            "Take PNG, JPEG, WebP, BMP, GIF or TIFF.",
        ) from None
    except BadImage as error:
        words = " ".join(str(error).split())[:200]
        raise UserError(
            FIELD, f"{name} cannot be decoded ({words})", "Save it again, or leave it out."
        ) from None
