"""Pictures as data URIs: they are part of the page's text, so that no address can be guessed."""

from __future__ import annotations

import base64
import io
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

CACHE_BYTES = 32_000_000
MOST_PIXELS = 100_000_000
_ENLARGE = 4
"""Largest factor by which pictures of a few pixels are enlarged."""


@dataclass(frozen=True)
class Picture:
    """A picture in the page's text.

    Attributes:
        uri: its data.
        width, height: at which it is shown, if there is room.
    """

    uri: str
    width: int
    height: int


def picture_of(image: Image.Image, side: int) -> Picture:
    """Embed a picture whose longer side is shown at `side` pixels.

    Larger ones are scaled down before that; the browser enlarges small ones.
    """
    longest = max(image.size)
    scale = min(1.0, side / longest)
    stored = image if image.mode in ("RGB", "RGBA", "L") else image.convert("RGB")
    if scale < 1:
        stored = stored.resize(
            (max(1, round(image.width * scale)), max(1, round(image.height * scale))),
            Image.Resampling.LANCZOS,
        )
    shown = max(1, min(_ENLARGE, side // longest))
    data = io.BytesIO()
    # Pictures of a few pixels are stored losslessly: their pixels are visible.
    stored.save(data, format="WEBP", quality=82, lossless=longest <= 64, method=2)
    uri = "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()
    return Picture(uri, stored.width * shown, stored.height * shown)


class _Cache:
    """The most recently used pictures, up to a number of bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._pictures: OrderedDict[tuple[str, int, int, int], Picture] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, path: Path, side: int) -> Picture | None:
        """The picture in a file; None if it cannot be read."""
        try:
            stat = path.stat()
        except OSError:
            return None
        key = (str(path), stat.st_mtime_ns, stat.st_size, side)
        with self._lock:
            if key in self._pictures:
                self._pictures.move_to_end(key)
                return self._pictures[key]
        made = _opened(path, side)
        if made is not None:
            with self._lock:
                self._keep(key, made)
        return made

    def _keep(self, key: tuple[str, int, int, int], made: Picture) -> None:
        if key not in self._pictures:
            self._held += len(made.uri)
        self._pictures[key] = made
        while self._held > self._most and len(self._pictures) > 1:
            _, old = self._pictures.popitem(last=False)
            self._held -= len(old.uri)


def _opened(path: Path, side: int) -> Picture | None:
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as image:
            if image.width * image.height > MOST_PIXELS:
                return None
            return picture_of(image, side)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError):
        # Pillow's errors for a file that is broken or incomplete.
        return None


_CACHE = _Cache(CACHE_BYTES)


def picture_in(path: Path, side: int) -> Picture | None:
    """The picture in a file, cached until the file changes; None if it cannot be read."""
    return _CACHE.of(path, side)
