"""The files of an upload, loose or in an archive: read, and checked to be pictures."""

from __future__ import annotations

import io
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Self

from PIL import Image, UnidentifiedImageError

from memshield.data.images import BadImage, open_image, to_mode
from memshield.errors import UserError

FIELD = "folder"
"""The form's field."""

# Formats that Pillow decodes itself; for PostScript, for example, it runs another program.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_DEPTH = 4
_LONGEST = 120
# Not allowed in names on other systems, to which the folder may be copied.
_FORBIDDEN = re.compile(r'[\\:*?"<>|]')


class UploadedFiles(ABC):
    """A set of named files; a context manager that closes them."""

    @abstractmethod
    def names(self) -> list[str]:
        """The names, with forward slashes after folders."""

    @abstractmethod
    def read(self, name: str, most: int) -> bytes:
        """Read a file.

        Raises:
            UserError: it is larger than `most` bytes, or broken.
        """

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(self, *reason: object) -> None: ...


class _Files(UploadedFiles):
    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files

    def names(self) -> list[str]:
        return list(self._files)

    def read(self, name: str, most: int) -> bytes:
        try:
            with self._files[name].open("rb") as file:
                content = file.read(most + 1)
        except FileNotFoundError:
            # Two simultaneous uploads of the same file share it; the first one deletes it.
            raise gone(name) from None
        if len(content) > most:
            raise too_large(name, most)
        return content

    def __exit__(self, *reason: object) -> None:
        pass


def from_files(files: Sequence[Path], most_files: int, most_bytes: int) -> UploadedFiles:
    """Open loose files, under their own names.

    Raises:
        UserError: they are too many or too large, two have one name, or one is not a file.
    """
    if len(files) > most_files:
        raise UserError(FIELD, f"{len(files)} files are too many", "Upload fewer.")
    named: dict[str, Path] = {}
    total = 0
    for file in files:
        if file.is_symlink() or not file.is_file():
            raise UserError(FIELD, f"{file.name} is not a file", "Leave it out.")
        if file.name in named:
            raise UserError(FIELD, f"{file.name} occurs twice", "Rename one of them.")
        named[file.name] = file
        try:
            total += file.stat().st_size
        except FileNotFoundError:
            raise gone(file.name) from None
    require_room(total, most_bytes)
    return _Files(named)


def gone(name: str) -> UserError:
    """The error for a file that was deleted."""
    return UserError(FIELD, f"{name} is not here any more", "Upload it again.")


def require_room(total: int, most: int) -> None:
    """Check that there is room for files.

    Raises:
        UserError: there is not.
    """
    if total > most:
        raise UserError(
            FIELD,
            f"the files take {total / 1e6:.0f} MB, and there is room for {most / 1e6:.0f} MB",
            "Upload fewer or smaller pictures, or delete uploads that you do not need any more.",
        )


def too_large(name: str, most: int) -> UserError:
    """The error for a file that is too large."""
    return UserError(FIELD, f"{name} is larger than {most / 2**20:.0f} MiB", "Scale it down.")


def safe_name(name: str) -> PurePosixPath:
    """Turn a name into a relative path.

    Raises:
        UserError: it leads out of the folder, is hidden, or is not portable.
    """
    parts = name.split("/")
    wrong = not name.isprintable() or _FORBIDDEN.search(name) or len(parts) > _DEPTH
    wrong = wrong or any(
        not part or part[0] in ". " or part[-1] in ". " or len(part.encode()) > _LONGEST
        for part in parts
    )
    if wrong:
        raise UserError(
            FIELD,
            f"{name[:100]!r} is not a usable name",
            "Use letters, digits, spaces, -, _ and inner dots, and no path out of the folder.",
        )
    return PurePosixPath(*parts)


def is_picture_name(name: str) -> bool:
    """Whether a name ends like that of a picture."""
    return PurePosixPath(name).suffix.lower() in _ENDINGS


def require_picture(content: bytes, name: str) -> None:
    """Decode a picture as training will.

    Raises:
        UserError: it cannot be decoded, or has too many pixels.
    """
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS):
            pass
        to_mode(open_image(content), "RGB")
    except UnidentifiedImageError:
        raise UserError(
            FIELD,
            f"{name} is broken, or not a picture",
            "Use PNG, JPEG, WebP, BMP, GIF or TIFF.",
        ) from None
    except BadImage as error:
        words = " ".join(str(error).split())[:200]
        raise UserError(
            FIELD, f"{name} cannot be decoded ({words})", "Save it again, or leave it out."
        ) from None
