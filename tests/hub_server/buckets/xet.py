"""What clients of the Hub's chunk storage send, as content: chunks in xorbs, files in shards."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator

import pyarrow as pa

_CHUNK = struct.Struct("<B3sB3s")
_NONE, _LZ4, _GROUPED_LZ4 = 0, 1, 2
_HEADER = _ENTRY = 48
_END = b"\xff" * 32
_VERIFIED, _WITH_SHA = 1 << 31, 1 << 30


class ChunkStorage:
    """Xorbs and files by their hashes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._xorbs: dict[str, list[bytes]] = {}
        self._files: dict[str, bytes] = {}

    def add_xorb(self, hash: str, data: bytes) -> None:
        """Keep chunks under the hash of all of them."""
        with self._lock:
            self._xorbs[hash] = list(_chunks(data))

    def add_shard(self, data: bytes) -> None:
        """Put files together from the chunks that a shard names."""
        with self._lock:
            for hash, segments in _files(data):
                parts = [b"".join(self._xorbs[xorb][first:last]) for xorb, first, last in segments]
                self._files[hash] = b"".join(parts)

    def file(self, hash: str) -> bytes | None:
        """The content of a file that was sent."""
        with self._lock:
            return self._files.get(hash)


def _chunks(xorb: bytes) -> Iterator[bytes]:
    place = 0
    while place + _CHUNK.size <= len(xorb) and xorb[place : place + 7] != b"XETBLOB":
        _, packed, scheme, unpacked = _CHUNK.unpack_from(xorb, place)
        size, length = (int.from_bytes(number, "little") for number in (packed, unpacked))
        place += _CHUNK.size
        yield _unpack(xorb[place : place + size], scheme, length)
        place += size


def _unpack(data: bytes, scheme: int, length: int) -> bytes:
    if scheme == _NONE:
        return data
    plain = bytes(pa.Codec("lz4").decompress(data, decompressed_size=length))
    if scheme == _LZ4:
        return plain
    assert scheme == _GROUPED_LZ4, f"unknown compression {scheme}"
    # Every fourth byte lies together.
    result, place = bytearray(length), 0
    for group in range(4):
        count = len(range(group, length, 4))
        result[group::4] = plain[place : place + count]
        place += count
    return bytes(result)


def _files(shard: bytes) -> Iterator[tuple[str, list[tuple[str, int, int]]]]:
    place = _HEADER
    while shard[place : place + 32] != _END:
        hash = _hex(shard[place : place + 32])
        flags, count = struct.unpack_from("<II", shard, place + 32)
        place += _ENTRY
        segments = []
        for index in range(count):
            at = place + index * _ENTRY
            first, last = struct.unpack_from("<II", shard, at + 40)
            segments.append((_hex(shard[at : at + 32]), first, last))
        place += _ENTRY * (count * (2 if flags & _VERIFIED else 1) + bool(flags & _WITH_SHA))
        yield hash, segments


def _hex(hash: bytes) -> str:
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", hash))
