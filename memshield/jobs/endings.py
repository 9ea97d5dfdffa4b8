"""How a command ended, for the server that started it.

Only the parent of a process learns its exit code, and a server may be started anew meanwhile; and
what a command prints is for a terminal. So a command that a server starts notes both in a file: its
exit code, and what the user has to mend.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from memshield.errors import UserError
from memshield.redaction import redact

VARIABLE = "MEMSHIELD_ENDING_FILE"
"""Names the file, in the environment of the command."""


@dataclass
class Ending:
    """What a command ends with; that of a crash until it says otherwise.

    Attributes:
        code: exit code of the process.
        problem: what the user has to mend, in words for a page; None where it ended otherwise.
    """

    code: int = 1
    problem: str | None = None

    def refuse(self, error: UserError) -> None:
        """End with what the user has to mend."""
        self.code, self.problem = 2, redact(error.labelled)


@contextlib.contextmanager
def noted() -> Iterator[Ending]:
    """Note the ending of what is done inside, if the environment names a file for it.

    Of several processes of one command the first notes it.
    """
    path, ending = os.environ.pop(VARIABLE, None), Ending()  # it is not that of its children
    first = os.environ.get("RANK", "0") == "0"
    try:
        yield ending
    finally:
        if path and first:
            with contextlib.suppress(OSError):  # a full disk must not change how it ends
                Path(path).write_text(json.dumps(asdict(ending)) + "\n", encoding="utf-8")


def file_beside(output: Path) -> Path:
    """Where the ending of a task lies, beside its output."""
    return output.with_suffix(".ending.json")


def read(path: Path) -> Ending | None:
    """A noted ending; None where there is none, or a damaged one."""
    try:
        found = Ending(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    whole = type(found.code) is int and isinstance(found.problem, str | None)
    return found if whole else None
