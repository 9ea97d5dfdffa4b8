"""Checkpoints that are there whole or not at all: safetensors and JSON, never a pickle."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from memshield.config.file import Config
from memshield.errors import UserError
from memshield.rundir import RunDir, new_folder, sync
from memshield.training.ranks import Ranks

log = logging.getLogger("memshield")

VERSION = 2
MANIFEST = "checkpoint.json"
_MAPPED_BYTES = 64 * 2**20


@dataclass(frozen=True)
class CheckpointFile:
    """One file of a checkpoint.

    Attributes:
        version: names the content: a file of the same version in the checkpoint before is
            linked, not written again.
        write: gives tensors and metadata; None where the file must be there already.
    """

    version: str
    write: Callable[[], tuple[dict[str, Tensor], dict[str, str]]] | None


@dataclass(frozen=True)
class RoundProgress:
    """How far a rank is in its own part of a round.

    Attributes:
        turn: how many of its shards are through.
        done: steps of the next one that have been taken.
    """

    turn: int
    done: int


@dataclass(frozen=True)
class RankPosition:
    """Where a rank stands when a checkpoint is made.

    Attributes:
        rank: of this process.
        round: rounds that have ended.
        place: inside the next round; None between two rounds.
    """

    rank: int
    round: int
    place: RoundProgress | None

    @property
    def is_first(self) -> bool:
        """Whether this rank saves what all ranks have alike."""
        return self.rank == 0


class Stateful(Protocol):
    """Has state that a run needs to go on; registered once, with `Checkpointer.register`."""

    def parts(self, at: RankPosition) -> dict[str, CheckpointFile]:
        """The files that this rank adds to a checkpoint, by name."""

    def load(self, checkpoint: Checkpoint, at: RankPosition) -> None:
        """Take over the state; nothing changes where the checkpoint holds none."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk.

    Attributes:
        step: optimizer steps of the whole run when it was made.
        folder: where it is.
        round: rounds that have ended.
        places: of every rank inside the next round; empty at a round's end, where any number
            of ranks can go on.
    """

    step: int
    folder: Path
    round: int
    places: tuple[RoundProgress, ...]
    _files: dict[str, dict[str, Any]]

    def path(self, part: str) -> Path:
        """File of a part."""
        return self.folder / f"{part}.safetensors"

    def has(self, part: str) -> bool:
        """Whether it has this part."""
        return part in self._files

    def position(self, rank: int) -> RankPosition:
        """Where a rank stood; one that had no shards stood at a round's beginning."""
        place = None
        if self.places:
            place = self.places[rank] if rank < len(self.places) else RoundProgress(0, 0)
        return RankPosition(rank, self.round, place)

    def find(self, version: str) -> Path | None:
        """The file that holds this content, whatever its name."""
        for name, entry in self._files.items():
            if entry["version"] == version:
                return self.path(name)
        return None

    @classmethod
    def read(cls, run: RunDir, step: int) -> Checkpoint:
        """Open a checkpoint and check that its files are all there.

        Raises:
            UserError: it is incomplete or of another version.
        """
        folder = run.checkpoint(step)
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise _broken(folder, f"has no readable {MANIFEST}") from None
        if manifest.get("version") != VERSION:
            raise _broken(folder, f"is of format {manifest.get('version')}, this is {VERSION}")
        for name, entry in manifest["files"].items():
            file = folder / f"{name}.safetensors"
            if not file.is_file() or file.stat().st_size != entry["size"]:
                raise _broken(folder, f"lacks {file.name}, or not all of it is there")
        places = tuple(RoundProgress(*place) for place in manifest["places"])
        return cls(manifest["step"], folder, manifest["round"], places, manifest["files"])


def _broken(folder: Path, problem: str) -> UserError:
    return UserError(
        "resume_from_checkpoint",
        f"{folder.name} {problem}",
        "Delete that folder to go on from the checkpoint before it.",
    )


class Checkpointer:
    """Saves checkpoints of one run and keeps the newest.

    Args:
        run: the run directory, the same for all ranks.
        limit: how many to keep, or None for all. The newest of a round's end is kept as well.
        ranks: every rank writes its own parts into the same folder.

    Attributes:
        registered: what has state.
        last: the checkpoint that was saved or restored last.
    """

    def __init__(self, run: RunDir, limit: int | None, ranks: Ranks) -> None:
        self._run = run
        self._limit = limit
        self._ranks = ranks
        self.registered: list[Stateful] = []
        self.last: Checkpoint | None = None

    @property
    def newest(self) -> Checkpoint:
        """The last checkpoint that was saved or restored."""
        assert self.last is not None, "nothing was saved yet"
        return self.last

    def register(self, *states: Stateful) -> None:
        """Save and restore these from now on."""
        self.registered += states

    def restore(self, checkpoint: Checkpoint) -> RankPosition:
        """Give everything registered the state it had; where this rank stood then."""
        self.last = checkpoint
        at = checkpoint.position(self._ranks.rank)
        for state in self.registered:
            state.load(checkpoint, at)
        return at

    def save(self, step: int, round: int, places: Sequence[RoundProgress] = ()) -> Checkpoint:
        """Write a checkpoint aside, sync it, and rename it into place; all ranks together.

        Args:
            step: optimizer steps of the whole run.
            round, places: see `Checkpoint`.

        Raises:
            OSError: the disk is full, say; the checkpoint before is untouched.
            RankLostError: another rank could not write its parts.
        """
        target = self._run.checkpoint(step)
        files: dict[str, dict[str, Any]] = {}
        checkpoint = Checkpoint(step, target, round, tuple(places), files)
        at = checkpoint.position(self._ranks.rank)
        with self._together(target) as folder:
            mine = {
                name: self._write(folder, name, part)
                for state in self.registered
                for name, part in state.parts(at).items()
            }
            for theirs in self._ranks.gather(mine):
                files |= theirs
            if self._ranks.is_first:
                manifest = {
                    "version": VERSION,
                    "step": step,
                    "round": round,
                    "places": [[place.turn, place.done] for place in places],
                    "files": files,
                }
                (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        self.last = checkpoint
        if self._ranks.is_first:
            self._prune(step)
        return checkpoint

    @contextmanager
    def _together(self, target: Path) -> Iterator[Path]:
        """A folder that all ranks fill; it is at `target` for all of them afterwards."""
        if self._ranks.is_first:
            with new_folder(target) as aside:
                self._ranks.share(aside.name)
                yield aside
        else:
            yield target.with_name(self._ranks.share())
        self._ranks.barrier()

    def _write(self, folder: Path, name: str, part: CheckpointFile) -> dict[str, Any]:
        target = folder / f"{name}.safetensors"
        earlier = self.last.find(part.version) if self.last else None
        if earlier is not None:
            _link_or_copy(earlier, target)
        elif part.write is not None:
            tensors, metadata = part.write()
            contiguous = {key: t.detach().cpu().contiguous() for key, t in tensors.items()}
            save_file(contiguous, target, metadata=metadata)
        else:
            raise FileNotFoundError(f"no earlier checkpoint holds {part.version}")
        if not self._ranks.is_first:
            sync(target)  # rank 0 syncs what it can see of the folder, on its own node
        return {"version": part.version, "size": target.stat().st_size}

    def _prune(self, newest: int) -> None:
        if self._limit is None:
            return
        steps = [step for step in self._run.checkpoints() if step <= newest]
        ends = [step for step in steps if _is_end_of_round(self._run.checkpoint(step))]
        for step in steps[: -self._limit]:
            if step not in ends[-1:]:
                discard(self._run.checkpoint(step))


def stream(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a safetensors file by name, a part of the file in memory at a time."""
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
    while names:
        # Pages of a mapped file count as resident until it is closed: opened anew for each
        # part. Opening for each tensor would read the file's index too often.
        with safe_open(path, framework="pt") as file:
            read = 0
            while names and read < _MAPPED_BYTES:
                name = names.pop()
                tensor = file.get_tensor(name)
                read += tensor.nbytes
                yield name, tensor


def choose(run: RunDir, config: Config, ranks: int) -> Checkpoint | None:
    """The checkpoint to go on from, or None for a start from the beginning.

    Another number of ranks than made it cannot go on inside a round: for `latest`, the newest
    that can be used is taken.

    Raises:
        UserError: the one that the config names is not there, or is of another number of ranks.
    """
    working = min(ranks, config.num_shards)
    wanted = config.resume_from_checkpoint
    steps = run.checkpoints()
    if wanted == "latest":
        for step in reversed(steps):
            found = Checkpoint.read(run, step)
            if not found.places or len(found.places) == working:
                return found
            log.info(
                "%s was made inside a round by %d processes, this is %d: going on from before it",
                found.folder.name,
                len(found.places),
                working,
            )
        return None
    name = Path(wanted).name
    number = name.removeprefix("checkpoint-")
    if not number.isdecimal() or int(number) not in steps:
        raise UserError(
            "resume_from_checkpoint",
            f"this run has no {wanted!r}",
            f"It has: {', '.join(f'checkpoint-{step}' for step in steps) or 'none'}.",
        )
    found = Checkpoint.read(run, int(number))
    if found.places and len(found.places) != working:
        raise UserError(
            "resume_from_checkpoint",
            f"{name} was made inside a round by {len(found.places)} processes, this is {working}",
            "Launch as many, or name the checkpoint of a round's end.",
        )
    return found


def _is_end_of_round(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return manifest.get("version") == VERSION and not manifest["places"]


def discard_after(run: RunDir, checkpoint: Checkpoint) -> list[str]:
    """Delete what follows the checkpoint gone back to: later ones, rounds, and their audits.

    Returns:
        What was deleted, in words.
    """
    deleted = []
    for later in run.checkpoints():
        if later > checkpoint.step:
            discard(run.checkpoint(later))
            deleted.append(run.checkpoint(later).name)
    for number in run.round_numbers():
        if number > checkpoint.round:
            discard(run.rounds / str(number))
            deleted.append(f"round {number}")
            if run.audit_of(number).is_dir():
                discard(run.audit_of(number))
    return deleted


def discard(folder: Path) -> None:
    """Delete a folder so that a reader never sees half of it."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    folder.rename(aside)
    shutil.rmtree(aside)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
