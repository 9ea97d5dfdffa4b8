"""Files as they come in from a stranger, loose or in an archive."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Self

from memshield.errors import UserError

FIELD = "folder"
"""The form's input."""

_DEPTH = 4
_LONGEST = 120
# What leads elsewhere on another system, to which the folder may be copied.
_FORBIDDEN = re.compile(r'[\\:*?"<>|]')


class Incoming(ABC):
    """A set of named files; a context manager that closes what is open."""

    @abstractmethod
    def names(self) -> list[str]:
        """Their names, those in folders with forward slashes."""

    @abstractmethod
    def read(self, name: str, most: int) -> bytes:
        """A file.

        Raises:
            UserError: it is larger than `most` bytes, or broken.
        """

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(self, *reason: object) -> None: ...


class _Files(Incoming):
    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files

    def names(self) -> list[str]:
        return list(self._files)

    def read(self, name: str, most: int) -> bytes:
        try:
            with self._files[name].open("rb") as file:
                content = file.read(most + 1)
        except FileNotFoundError:
            # Who uploads the same file at the same time shares it; it goes with the first.
            raise gone(name) from None
        if len(content) > most:
            raise too_large(name, most)
        return content

    def __exit__(self, *reason: object) -> None:
        pass


def from_files(files: Sequence[Path], most_files: int, most_bytes: int) -> Incoming:
    """Loose files under their own names.

    Raises:
        UserError: too many or too large, two of one name, or one that is no file.
    """
    if len(files) > most_files:
        raise UserError(FIELD, f"{len(files)} files are too many", "Upload fewer.")
    named: dict[str, Path] = {}
    total = 0
    for file in files:
        if file.is_symlink() or not file.is_file():
            raise UserError(FIELD, f"{file.name} is no file", "Leave it out.")
        if file.name in named:
            raise UserError(FIELD, f"{file.name} is there twice", "Rename one of them.")
        named[file.name] = file
        try:
            total += file.stat().st_size
        except FileNotFoundError:
            raise gone(file.name) from None
    require_room(total, most_bytes)
    return _Files(named)


def gone(name: str) -> UserError:
    """The error for a file that was deleted meanwhile."""
    return UserError(FIELD, f"{name} is not here any more", "Upload it again.")


def require_room(total: int, most: int) -> None:
    """Refuse more bytes than there is room for.

    Raises:
        UserError: there are more.
    """
    if total > most:
        raise UserError(
            FIELD,
            f"the files take {total / 1e6:.0f} MB, and there is room for {most / 1e6:.0f} MB",
            "Upload fewer or smaller pictures, or delete uploads that are not needed any more.",
        )


def too_large(name: str, most: int) -> UserError:
    """The error for a file of too many bytes."""
    return UserError(FIELD, f"{name} is larger than {most / 2**20:.0f} MiB", "Scale it down.")


def safe_name(name: str) -> PurePosixPath:
    """The path inside a folder that a name stands for.

    Raises:
        UserError: it leads out of the folder, is hidden, or holds what not every system takes.
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
            f"{name[:100]!r} is no name that can be kept",
            "Use letters, digits, spaces, - _ and dots inside; no paths that lead elsewhere.",
        )
    return PurePosixPath(*parts)
