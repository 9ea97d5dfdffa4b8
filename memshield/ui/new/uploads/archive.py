"""Reads an uploaded zip, which is checked before anything is unpacked."""

from __future__ import annotations

import stat
import zipfile
import zlib
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from memshield.errors import UserError
from memshield.ui.new.uploads.files import FIELD, UploadedFiles, gone, require_room, too_large

_LARGEST_LIST = 16 * 2**20
_RATIO = 200
"""Most bytes that a packed byte may become; pictures hardly shrink, blank ones a hundredfold."""
_SMALL = 2**20
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_END, _END_LENGTH, _LONGEST_COMMENT = b"PK\x05\x06", 22, 2**16
_LOCATOR, _LOCATOR_LENGTH = b"PK\x06\x07", 20
# Files that macOS and Windows add.
_CLUTTER = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")


class _Zip(UploadedFiles):
    def __init__(self, archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]) -> None:
        self._archive = archive
        self._entries = entries

    def names(self) -> list[str]:
        return list(self._entries)

    def read(self, name: str, most: int) -> bytes:
        entry = self._entries[name]
        if entry.file_size > most:
            raise too_large(name, most)
        try:
            with self._archive.open(entry) as member:
                # zipfile reads no more than the size in the list of entries.
                content = member.read(entry.file_size)
                if member.read(1) or len(content) != entry.file_size:
                    raise zipfile.BadZipFile("its size differs")
                return content
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
            raise UserError(FIELD, f"{name} is damaged ({error})", "Make the zip again.") from None

    def __exit__(self, *reason: object) -> None:
        self._archive.close()


def from_zip(file: Path, most_entries: int, most_bytes: int) -> UploadedFiles:
    """Open an archive; a single folder around all of its files is left out of their names.

    Raises:
        UserError: it is not a zip, is encrypted, holds links or paths out of it, or is too large.
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
    with ExitStack() as stack:
        stack.enter_context(archive)
        entries = [entry for entry in archive.infolist() if not _is_clutter(entry)]
        if len(entries) > most_entries:
            raise UserError(FIELD, f"{len(entries)} files are too many", "Upload fewer.")
        for entry in entries:
            _require_plain(entry)
        require_room(sum(entry.file_size for entry in entries), most_bytes)
        named: dict[str, zipfile.ZipInfo] = {}
        around = _folder_around([entry.filename for entry in entries])
        for entry in entries:
            name = entry.filename.removeprefix(around)
            if name in named:
                raise UserError(FIELD, f"{name} occurs twice", "Rename one of them.")
            named[name] = entry
        stack.pop_all()  # stays open for its reader
    return _Zip(archive, named)


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


def _require_plain(entry: zipfile.ZipInfo) -> None:
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
        raise UserError(FIELD, f"{entry.filename[:100]!r} {problem}", "Make the zip without it.")


def _folder_around(names: list[str]) -> str:
    tops = {name.split("/")[0] for name in names}
    inside = all("/" in name for name in names)
    return f"{tops.pop()}/" if len(tops) == 1 and inside else ""
