"""Bodies of requests: small ones in memory, large ones in a file that is mapped into it."""

from __future__ import annotations

import mmap
import tempfile
from io import BufferedIOBase

Body = bytes | mmap.mmap

LARGEST_IN_MEMORY = 8 * 1024 * 1024
CHUNK = 1024 * 1024


def read_body(stream: BufferedIOBase, size: int) -> Body:
    """The next `size` bytes. Weights of gigabytes lie on disk once, under a name that is gone
    already, and are neither copied nor held in memory."""
    if size <= LARGEST_IN_MEMORY:
        data = stream.read(size)
        _require_all(len(data), size)
        return data
    with tempfile.TemporaryFile(prefix="hub-body-") as file:
        left = size
        while left > 0 and (chunk := stream.read(min(left, CHUNK))):
            file.write(chunk)
            left -= len(chunk)
        _require_all(size - left, size)
        file.flush()
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _require_all(received: int, size: int) -> None:
    if received < size:
        # Half a request must not be carried out as if it were a whole one.
        raise ConnectionAbortedError(f"the client left after {received} of {size} bytes")
