"""A last look at a folder before it is published: what must not be there, and what it is."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from memshield.hub.contents import is_allowed
from memshield.redaction import holds_token

_TEXT = (".json", ".md", ".txt", ".html")
_LARGEST_HEADER = 100_000_000
_PNG = b"\x89PNG\r\n\x1a\n"
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_PLACE = re.compile(
    r"(?<![\w/.:])(/(home|Users|root|tmp|mnt|var)/|[A-Za-z]:\\\\?Users\\\\?)[\w.-]+"
)


def problems_of(folder: Path, private: tuple[str, ...] = ()) -> list[str]:
    """What speaks against publishing a folder, file by file; nothing where it is clean.

    Args:
        folder: as it would be published.
        private: words that must stand in no file, such as paths of this machine.
    """
    words = tuple(word for word in (*private, str(Path.home())) if len(word) > 1)
    return [
        f"{path.relative_to(folder).as_posix()}: {problem}"
        for path in sorted(folder.rglob("*"))
        for problem in _problems(path, path.relative_to(folder).as_posix(), words)
    ]


def _problems(path: Path, name: str, words: tuple[str, ...]) -> Iterator[str]:
    if path.is_symlink():
        yield "is a link"
    elif path.is_dir():
        pass
    elif not is_allowed(name):
        yield "is no file that is published"
    elif path.suffix in _TEXT:
        try:
            yield from _problems_of_text(path.read_text(encoding="utf-8"), words)
        except UnicodeDecodeError:
            yield "is not text"
    elif path.suffix == ".safetensors":
        yield from _problems_of_weights(path, words)
    elif path.suffix == ".png":
        yield from _problems_of_picture(path.read_bytes())


def _problems_of_text(text: str, words: tuple[str, ...]) -> Iterator[str]:
    if holds_token(text):
        yield "holds what looks like a token"
    if _PLACE.search(text) or any(word in text for word in words):
        yield "names a folder of this machine"


def _problems_of_weights(path: Path, words: tuple[str, ...]) -> Iterator[str]:
    """The header says what is inside: https://huggingface.co/docs/safetensors."""
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        header = file.read(length) if 0 < length <= _LARGEST_HEADER else b""
    try:
        entries = dict(json.loads(header))
        metadata = entries.pop("__metadata__", {})
        end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except (ValueError, TypeError, LookupError):
        yield "is not a safetensors file"
        return
    if path.stat().st_size != 8 + length + end:
        yield "holds more than its tensors, or less"
    yield from _problems_of_text(json.dumps(metadata), words)


def _problems_of_picture(data: bytes) -> Iterator[str]:
    """Beside its pixels a PNG can hold anything: https://www.w3.org/TR/png-3/#11Chunks."""
    if not data.startswith(_PNG):
        yield "is not a PNG file"
        return
    place = len(_PNG)
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8].ljust(8, b"\0"))
        if kind not in _PIXEL_CHUNKS:
            yield "holds more than its pixels"
            return
        place += 12 + length
