"""The files of an upload, loose or in an archive, and rules for their names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from memshield.errors import UserError

FIELD = "folder"
"""The form's field."""

_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_DEPTH = 4
_LONGEST = 120
# Not allowed in names on other systems, to which the folder may be copied.
_FORBIDDEN = re.compile(r'[\\:*?"<>|]')


@dataclass(frozen=True)
class UploadedFile:
    """A file of an upload.

    Attributes:
        name: with forward slashes after folders; as the visitor's browser or zip spells it.
        read: returns the content; a UserError if it is larger than so many bytes, or broken.
    """

    name: str
    read: Callable[[int], bytes]


def from_file(file: Path) -> UploadedFile:
    """Open a loose file, under its own name."""

    def read(most: int) -> bytes:
        if file.is_symlink() or (file.exists() and not file.is_file()):
            raise UserError(FIELD, f"{file.name} is not a file", "Leave it out.")
        try:
            with file.open("rb") as opened:
                content = opened.read(most + 1)
        except FileNotFoundError:
            # Two simultaneous uploads of the same file share it; the first one deletes it.
            raise gone(file.name) from None
        if len(content) > most:
            raise too_large(file.name, most)
        return content

    return UploadedFile(file.name, read)


def gone(name: str) -> UserError:
    """The error for a file that was deleted."""
    return UserError(FIELD, f"{name} is not here any more", "Upload it again.")


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
