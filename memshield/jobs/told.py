"""What a place tells of a task beyond its run directory, in a file beside its output."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from memshield.rundir import write_text


@dataclass(frozen=True)
class Told:
    """What is known of a task in a place other than this machine.

    Attributes:
        hardware: its name there.
        url: of its page there; "" before it has one.
        words: its state there, for people.
        remedy: what to do; "" where nothing needs to be done.
        orphan: whether it is paid for and nothing comes of it, as far as can be told.
        dollars: that it has cost so far.
        most: that it can cost.
        checkpoint: step of the last one there; None where there is none.
        account: there that it belongs to; "" where that is not known.
    """

    hardware: str
    url: str = ""
    words: str = ""
    remedy: str = ""
    orphan: bool = False
    dollars: float = 0.0
    most: float = 0.0
    checkpoint: int | None = None
    account: str = ""

    def write(self, path: Path) -> None:
        """Write the file, unless it says this already."""
        if read_told(path) != self:
            write_text(path, json.dumps(asdict(self)), sync=False)


def read_told(path: Path) -> Told | None:
    """What a file says; None where there is none, or it is of another version."""
    try:
        return Told(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def told_of(paths: Iterable[Path]) -> Told | None:
    """What the newest file says, with the cost of all, and the newest page and checkpoint.

    Args:
        paths: of a run's tasks, oldest first.
    """
    found = [one for one in map(read_told, paths) if one is not None]
    if not found:
        return None
    # A start that was refused knows nothing of what earlier ones left there.
    return replace(
        found[-1],
        dollars=sum(one.dollars for one in found),
        url=next((one.url for one in reversed(found) if one.url), ""),
        checkpoint=next(
            (one.checkpoint for one in reversed(found) if one.checkpoint is not None), None
        ),
    )
