"""Archives of pictures: zip files are read in place and never unpacked. Nothing in them is trusted.

A name in an archive is only ever looked up inside it, and a link in it is never followed.
"""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, cast

LARGEST_PICTURE = 64 * 2**20
"""Bytes of an encoded picture; larger ones are not read."""
MOST_MEMBERS = 1_000_000
LARGEST_TABLE = 2**30
"""Bytes of a metadata file inside an archive."""
MOST_AT_ONCE = 2 * LARGEST_PICTURE
"""Bytes that are read at once, a zip file's list of contents too."""
MOST_GROWTH = 100
"""How many times an archive's own size it may unpack to; pictures are compressed already."""
_GROWTH_ALLOWED = 2**30
"""Bytes that any archive may unpack to."""
_TABLES = (".csv", ".jsonl", ".parquet")
_OPEN_AT_ONCE = 64
_SCHEME, _HOP = "zip://", "::"


class ArchiveError(ValueError):
    """An archive that cannot be read. Its words repeat no caption or other text in it."""


class Bounded:
    """A file that refuses to give very much at once: headers that lie would fill the memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, count: int | None = -1) -> bytes:
        whole = count is None or count < 0
        wanted = MOST_AT_ONCE + 1 if whole else int(count or 0)
        data = self._file.read(wanted) if wanted <= MOST_AT_ONCE or whole else None
        if data is None or len(data) > MOST_AT_ONCE:
            raise ValueError(f"more than {MOST_AT_ONCE} bytes would have to be read at once")
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def require_growth(unpacked: int, packed: int) -> None:
    """Refuse an archive that was made to fill memory or disk.

    Raises:
        ValueError: it unpacks to far more than it weighs.
    """
    if unpacked > max(_GROWTH_ALLOWED, MOST_GROWTH * packed):
        raise ValueError(f"{packed} bytes that unpack to {unpacked} are no pictures")


def require_safe_zip(path: Path) -> None:
    """Look through the contents of a zip file; nothing is unpacked.

    Raises:
        ArchiveError: it is damaged, locked, or was made to harm; the message names the file.
    """
    try:
        members = _opened(path).infolist()
        if len(members) > MOST_MEMBERS:
            raise ValueError(f"{len(members)} files are more than {MOST_MEMBERS}")
        require_growth(sum(member.file_size for member in members), path.stat().st_size)
        for member in members:
            if member.flag_bits & 1:
                raise ValueError("it is locked with a password")
            is_table = member.filename.lower().endswith(_TABLES)
            if is_table and member.file_size > LARGEST_TABLE:
                raise ValueError(f"{Path(member.filename).name} is too large for a metadata file")
    except (zipfile.BadZipFile, ValueError) as error:
        raise ArchiveError(f"{path.name}: {error}") from None


@dataclass(frozen=True)
class ZipMember:
    """A picture in a zip file.

    Attributes:
        archive: the zip file.
        name: of the picture in it.
    """

    archive: Path
    name: str

    @classmethod
    def of(cls, path: str) -> ZipMember | None:
        """The one that the datasets library means by a path; None for the path of a plain file."""
        if not path.startswith(_SCHEME):
            return None
        name, _, archive = path.removeprefix(_SCHEME).rpartition(_HOP)
        return cls(Path(archive), name) if name else None

    def read(self) -> bytes:
        """The picture as it is stored.

        Raises:
            ValueError: it is not there, is too large, is a link, or is damaged.
            OSError: the archive cannot be read.
        """
        try:
            archive = _opened(self.archive)
            member = archive.getinfo(self.name)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise ValueError("it is a link, which is not followed")
            if member.file_size > LARGEST_PICTURE:
                raise ValueError(f"its {member.file_size} bytes are more than is safe to decode")
            with archive.open(member) as file:
                return file.read(LARGEST_PICTURE)
        except KeyError:
            raise ValueError("it is not in its archive") from None
        # Damage, a password, a compression that Python does not know.
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise ValueError(f"{self.archive.name}: {error}") from None


def _opened(path: Path) -> zipfile.ZipFile:
    """An open archive. Each process has its own place in the file."""
    found = path.stat()
    return _open(str(path), found.st_mtime_ns, found.st_size, os.getpid())


@lru_cache(_OPEN_AT_ONCE)  # the list of contents takes long to read
def _open(path: str, *state: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(cast(IO[bytes], Bounded(open(path, "rb"))))


def is_hidden(name: str) -> bool:
    """Whether the datasets library passes over a file in an archive, such as what macOS adds."""
    return any(step != "." and step.startswith((".", "__")) for step in name.split("/"))


def folder_labels(names: Iterable[str]) -> list[str] | None:
    """The names of the folders that pictures lie in, where they are classes.

    As the datasets library has it: there are several, all equally deep.

    Args:
        names: of pictures, as paths inside their archive or repository.
    """
    steps = [name.split("/") for name in names]
    labels = [path[-2] if len(path) > 1 else "" for path in steps]
    return labels if len(set(labels)) > 1 and len({len(path) for path in steps}) == 1 else None
