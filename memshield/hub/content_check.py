"""The last check of a folder before it is published: forbidden files and content."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from memshield.families.lora_export import METADATA
from memshield.hub.allowed_files import is_allowed
from memshield.hub.model_index import code_in
from memshield.redaction import holds_token

_VOCABULARY = re.compile(r"[a-z][a-z0-9_]*/(vocab\.json|tokenizer\.json|merges\.txt)")
"""Pieces of words, of the base's own tokenizer: some look like paths."""
_TEXT = (".json", ".md", ".txt", ".html", ".jinja")
_LARGEST_HEADER = 100_000_000
_PNG = b"\x89PNG\r\n\x1a\n"
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_PLACE_OF_VALUE = re.compile(r"(?:/[\w.-]+){2,}/?|~/.*|[A-Za-z]:[\\/].*|\\\\.*")
"""A value that is a path from the root: nothing that is published holds one."""
_METADATA = ("format", "lora_adapter_metadata", *METADATA)
_PLACE = re.compile(
    r"(?<![\w/.:])(/(home|Users|root|tmp|mnt|var)/|[A-Za-z]:\\\\?Users\\\\?)[\w.-]+"
)


def problems_of(folder: Path, private: tuple[str, ...] = ()) -> list[str]:
    """The problems of a folder, file by file; none where it may be published.

    Args:
        folder: as it would be published.
        private: words that must stand in no file, such as paths of this machine.
    """
    words = tuple(word for word in (*private, str(Path.home())) if len(word) > 1)
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_symlink() or path.is_file()):
        name = path.relative_to(folder).as_posix()
        problems = ["is a link"] if path.is_symlink() else problems_of_file(path, name, words)
        found += [f"{name}: {problem}" for problem in problems]
    return found


def problems_of_file(path: Path, name: str, words: tuple[str, ...] = ()) -> Iterator[str]:
    """The problems of one file.

    Args:
        path: where it lies.
        name: its path in the repository.
        words: that must not stand in it.
    """
    suffix = PurePosixPath(name).suffix  # a cache keeps files under other names
    if not is_allowed(name):
        yield "is no file that is published"
    elif suffix in _TEXT:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            yield "is not text"
            return
        is_vocabulary = _VOCABULARY.fullmatch(name) is not None
        yield from _problems_of_text(text, None if is_vocabulary else words)
        if suffix == ".json":
            yield from _problems_of_values(text, is_vocabulary)
    elif suffix == ".safetensors":
        yield from _problems_of_weights(path, words)
    elif suffix == ".png":
        yield from _problems_of_picture(path.read_bytes())


def _problems_of_text(text: str, words: tuple[str, ...] | None) -> Iterator[str]:
    """Tokens, and folders unless `words` is None."""
    if holds_token(text):
        yield "holds what looks like a token"
    if words is not None and (_PLACE.search(text) or any(_names(text, word) for word in words)):
        yield "names a folder of this machine"


def _names(text: str, word: str) -> bool:
    """Whether it stands there by itself: /root is not part of the-web.org/root or /roots."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) is not None


def _problems_of_values(text: str, is_vocabulary: bool) -> Iterator[str]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        yield "is not valid JSON"
        return
    if not is_vocabulary and any(map(_PLACE_OF_VALUE.fullmatch, _strings(values))):
        yield "holds a path of a machine"
    if isinstance(values, dict) and (key := code_in(values)):
        yield f"would have its own code run ({key})"


def _strings(values: Any) -> Iterator[str]:
    waiting = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, (list, dict)):
            waiting += value.values() if isinstance(value, dict) else value


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
    if not isinstance(metadata, dict) or not set(metadata) <= set(_METADATA):
        yield "holds more than its tensors in its metadata"
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
