"""The processes of an audit on one machine: which batches are whose, and where they meet."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from memshield.errors import UserError
from memshield.rundir import write_text

_POLL_SECONDS = 0.02
_PREFIX = ".team-"


@dataclass
class Team:
    """This process among those that make one audit; by default it is alone.

    They meet in files, not in a process group: an audit on GPUs that do not speak to each other
    needs no more, and each can be as late as its batches take.

    Attributes:
        rank: of this process, from 0.
        count: of processes.
        folder: in which they meet.
    """

    rank: int = 0
    count: int = 1
    folder: Path | None = None
    _meetings: int = field(default=0, init=False)
    _launcher: int = field(default_factory=os.getppid, init=False)

    @classmethod
    def of_launch(cls, folder: Path, environment: Mapping[str, str] = os.environ) -> Team:
        """The processes that `accelerate launch` has started.

        Args:
            folder: of the audit.
            environment: of this process.

        Raises:
            UserError: they are on several machines.
        """
        count = int(environment.get("WORLD_SIZE", "1"))
        if count == 1:
            return cls()
        if int(environment.get("LOCAL_WORLD_SIZE", count)) != count:
            raise UserError(
                "accelerate launch", "an audit's processes are those of one machine",
                "Launch it on one.",
            )  # fmt: skip
        # All have the launcher as their parent: its start tells this launch from earlier ones.
        name = _name_of_launch(psutil.Process(os.getppid()))
        return cls(int(environment["RANK"]), count, folder / name)

    @property
    def is_first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    def own(self, batches: int) -> range:
        """The batches that are this process's: b is on process b mod W."""
        return range(self.rank, batches, self.count)

    def gather(self, value: Any) -> list[Any]:
        """A JSON value of every process, in the order of ranks."""
        if self.count == 1:
            return [value]
        self._write("json", lambda path: write_text(path, json.dumps(value), sync=False))
        return [json.loads(path.read_text(encoding="utf-8")) for path in self._wait("json")]

    def gather_rows(self, mine: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        """Rows of every process, in the order of ranks."""
        if self.count == 1:
            return [mine]

        def write(path: Path) -> None:
            aside = path.with_name(f".{path.name}")
            with aside.open("wb") as file:
                np.save(file, mine)
            aside.replace(path)

        self._write("npy", write)
        return [np.load(path) for path in self._wait("npy")]

    def close(self) -> None:
        """Leave the others, when all are through."""
        if self.folder is None:
            return
        self.gather(None)
        # Others may still be reading that last meeting; it is the first one that clears up.
        if self.is_first:
            for rank in range(1, self.count):
                self._await(self.folder / f"left-{rank}")
            shutil.rmtree(self.folder)
        else:
            (self.folder / f"left-{self.rank}").touch()

    def _write(self, suffix: str, write: Callable[[Path], None]) -> None:
        assert self.folder is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.is_first and self._meetings == 0:
            living = set(_names_of_launches())
            for old in self.folder.parent.glob(f"{_PREFIX}*"):
                if old != self.folder and old.name not in living:  # of a launch that was killed
                    shutil.rmtree(old, ignore_errors=True)
        # Whoever comes to this meeting has read what was brought to the one before the last.
        (self.folder / self._name(self._meetings - 2, self.rank, "json")).unlink(missing_ok=True)
        (self.folder / self._name(self._meetings - 2, self.rank, "npy")).unlink(missing_ok=True)
        write(self.folder / self._name(self._meetings, self.rank, suffix))

    def _wait(self, suffix: str) -> list[Path]:
        assert self.folder is not None
        paths = [
            self.folder / self._name(self._meetings, rank, suffix) for rank in range(self.count)
        ]
        for path in paths:
            self._await(path)
        self._meetings += 1
        return paths

    def _await(self, path: Path) -> None:
        while not path.exists():
            if os.getppid() != self._launcher:
                # It ends all processes when one fails; without it nobody would.
                raise UserError("accelerate launch", "the launcher is gone", "Start it again.")
            time.sleep(_POLL_SECONDS)

    @staticmethod
    def _name(meeting: int, rank: int, suffix: str) -> str:
        return f"{meeting}-{rank}.{suffix}"


def _name_of_launch(launcher: psutil.Process) -> str:
    return f"{_PREFIX}{launcher.pid}-{launcher.create_time():.2f}"


def _names_of_launches() -> Iterator[str]:
    """What the folder of each process of this machine would be called, if it were a launcher."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            yield _name_of_launch(process)
