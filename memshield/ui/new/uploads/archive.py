"""Reads an uploaded zip, each of whose entries is checked before it is unpacked."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

from memshield.errors import UserError
from memshield.ui.new.uploads.files import FIELD, UploadedFile, gone, too_large

_LARGEST_LIST = 16 * 2**20
_RATIO = 200
"""Most bytes that a packed byte may become; pictures hardly shrink, blank ones a hundredfold."""
_SMALL = 2**20
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_END, _END_LENGTH, _LONGEST_COMMENT = b"PK\x05\x06", 22, 2**16
_LOCATOR, _LOCATOR_LENGTH = b"PK\x06\x07", 20
# Files that macOS and Windows add.
_CLUTTER = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")


@contextmanager
def from_zip(file: Path, most_entries: int) -> Iterator[list[UploadedFile]]:
    """Open an archive; a single folder around all of its files is left out of their names.

    An entry that is encrypted, is a link, or would unpack to far more than its size is refused when
    it is read.

    Raises:
        UserError: it is not a zip, or holds too many entries.
    """
    try:
        _require_short_list(file)
        archive = zipfile.ZipFile(file)
    except UserError:
        raise
    except FileNotFoundError:
        raise gone(file.name) from None
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise UserError(FIELD, f"{file.name} is not a zip ({error})", "Make it again.") from None
    with archive:
        entries = [entry for entry in archive.infolist() if not _is_clutter(entry)]
        if len(entries) > most_entries:
            words = f"{file.name} holds {len(entries)} files, which are too many"
            raise UserError(FIELD, words, "Upload fewer.")
        around = _folder_around([entry.filename for entry in entries])
        yield [
            UploadedFile(name, partial(_read, archive, entry, name))
            for entry in entries
            for name in [entry.filename.removeprefix(around)]
        ]


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str, most: int) -> bytes:
    _require_plain(entry, name)
    if entry.file_size > most:
        raise too_large(name, most)
    try:
        with archive.open(entry) as member:
            # zipfile reads no more than the size in the list of entries.
            content = member.read(entry.file_size)
            if member.read(1) or len(content) != entry.file_size:
                raise zipfile.BadZipFile("its size differs")
            return content
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
        raise UserError(FIELD, f"{name} is damaged ({error})", "Make the zip again.") from None


def _require_short_list(file: Path) -> None:
    """Refuse a list of entries that would fill the memory, before zipfile reads it."""
    with file.open("rb") as opened:
        size = opened.seek(0, 2)
        tail_length = min(size, _LOCATOR_LENGTH + _END_LENGTH + _LONGEST_COMMENT)
        opened.seek(size - tail_length)
        tail = opened.read()
    end = tail.rfind(_END)
    if end < 0 or len(tail) - end < _END_LENGTH:
        raise UserError(FIELD, f"{file.name} is not a zip", "Make it again.")
    length = int.from_bytes(tail[end + 12 : end + 16], "little")
    # Only longer lists and larger files need the zip64 record.
    if length > _LARGEST_LIST or tail[:end].rfind(_LOCATOR) >= 0:
        raise UserError(FIELD, f"{file.name} holds too much", "Upload fewer pictures.")


def _is_clutter(entry: zipfile.ZipInfo) -> bool:
    parts = PurePosixPath(entry.filename).parts
    return entry.is_dir() or not parts or parts[0] == _CLUTTER[0] or parts[-1] in _CLUTTER


def _require_plain(entry: zipfile.ZipInfo, name: str) -> None:
    mode = entry.external_attr >> 16
    problem = None
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        problem = "is a link or a device, not a file"
    elif entry.flag_bits & 1:
        problem = "is encrypted"
    elif entry.compress_type not in _COMPRESSIONS:
        problem = "is packed in an unusual way"
    elif entry.file_size > _SMALL and entry.file_size > _RATIO * max(1, entry.compress_size):
        problem = "would unpack to far more than its size"
    if problem is not None:
        raise UserError(FIELD, f"{name} {problem}", "Make the zip without it.")


def _folder_around(names: list[str]) -> str:
    tops = {name.split("/")[0] for name in names}
    inside = all("/" in name for name in names)
    return f"{tops.pop()}/" if len(tops) == 1 and inside else ""
