"""The exit code of a command, for a server that was started anew while it ran.

Only the parent of a process learns how it ended; so a command that a server starts notes it, too.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "MEMSHIELD_EXIT_CODE_FILE"
"""Names the file, in the environment of the command."""


class ExitCode:
    """What a command ends with; that of a crash until it says otherwise."""

    value = 1


@contextlib.contextmanager
def noted() -> Iterator[ExitCode]:
    """Note the exit code of what is done inside, if the environment names a file for it."""
    path, code = os.environ.pop(VARIABLE, None), ExitCode()  # it is not that of its children
    try:
        yield code
    finally:
        if path:
            with contextlib.suppress(OSError):  # a full disk must not change how it ends
                Path(path).write_text(f"{code.value}\n", encoding="utf-8")


def file_beside(output: Path) -> Path:
    """Where the exit code of a task lies, beside its output."""
    return output.with_suffix(".exit")


def read(path: Path) -> int | None:
    """A noted exit code; None where there is none."""
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
