"""The output file of a task: reading its last lines, and bounding its size."""

from __future__ import annotations

import os
from pathlib import Path

MOST_BYTES = 8 * 2**20
_TAIL_BYTES = 64 * 2**10
_TRACEBACK = "Traceback (most recent call last):"
_LAUNCHER = "accelerate.commands.launch"


def tail_bytes(path: Path, size: int = _TAIL_BYTES) -> bytes:
    """The end of a file, whole lines of it; nothing where there is none."""
    try:
        with path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - size)
            file.seek(start)
            data = file.read()
    except FileNotFoundError:
        return b""
    return data.partition(b"\n")[2] if start else data


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of an output file, with a moving bar as its last state only."""
    text = tail_bytes(path).decode("utf-8", errors="replace")
    shown = (line.rstrip().rpartition("\r")[2] for line in text.split("\n"))
    return [line for line in shown if line][-lines:]


def size_of(path: Path | None) -> int:
    """Bytes of an output file; 0 where there is none."""
    try:
        return 0 if path is None else path.stat().st_size
    except FileNotFoundError:
        return 0


def without_launcher(lines: list[str]) -> list[str]:
    """Output without the traceback that a launcher adds below that of the training itself."""
    for index in range(len(lines) - 1, -1, -1):
        line = lines[index]
        # Below a training that was killed it follows on the line of the bar.
        if line.endswith(_TRACEBACK) and _is_launchers(lines[index + 1 :]):
            before = line.removesuffix(_TRACEBACK).rstrip()
            return [*lines[:index], *([before] if before else [])]
    return lines


def _is_launchers(traceback: list[str]) -> bool:
    return any(_LAUNCHER in line or "/accelerate/commands/" in line for line in traceback[:6])


def trim(path: Path, most: int = MOST_BYTES) -> None:
    """Drop the older half of an output file that has grown too long.

    Its writer appends, and so goes on at the new end; a line that is written meanwhile is lost.
    """
    try:
        if path.stat().st_size <= most:
            return
    except FileNotFoundError:
        return
    kept = tail_bytes(path, most // 2)
    with path.open("r+b") as file:
        file.truncate()
        file.write(b"[earlier output was dropped]\n" + kept)
