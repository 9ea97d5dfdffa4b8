"""Checkpoints that are there whole or not at all: safetensors and JSON, never a pickle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from memshield.config import Config
from memshield.errors import UserError
from memshield.rundir import RunDir, new_folder

VERSION = 1
MANIFEST = "checkpoint.json"


@dataclass(frozen=True)
class Part:
    """One file of a checkpoint.

    Attributes:
        version: names the content: a file of the same version in the checkpoint before is
            linked, not written again.
        write: gives tensors and metadata; None where the file must be there already.
    """

    version: str
    write: Callable[[], tuple[dict[str, Tensor], dict[str, str]]] | None


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk.

    Attributes:
        step: optimizer steps of the whole run when it was made.
        folder: where it is.
        notes: what was saved beside the tensors.
    """

    step: int
    folder: Path
    notes: dict[str, Any]
    _files: dict[str, dict[str, Any]]

    def path(self, part: str) -> Path:
        """File of a part."""
        return self.folder / f"{part}.safetensors"

    def has(self, part: str) -> bool:
        """Whether it has this part."""
        return part in self._files

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
        return cls(manifest["step"], folder, manifest["notes"], manifest["files"])


def _broken(folder: Path, problem: str) -> UserError:
    return UserError(
        "resume_from_checkpoint",
        f"{folder.name} {problem}",
        "Delete that folder to go on from the checkpoint before it.",
    )


class Checkpointer:
    """Saves checkpoints of one run and keeps the newest.

    Args:
        run: the run directory.
        limit: how many to keep, or None for all.
    """

    def __init__(self, run: RunDir, limit: int | None) -> None:
        self._run = run
        self._limit = limit
        self.last: Checkpoint | None = None

    def save(self, step: int, parts: dict[str, Part], notes: dict[str, Any]) -> Checkpoint:
        """Write a checkpoint aside, sync it, and rename it into place.

        Args:
            step: optimizer steps of the whole run.
            parts: by name.
            notes: JSON values saved beside them.

        Raises:
            OSError: the disk is full, say; the checkpoint before is untouched.
        """
        files = {}
        with new_folder(self._run.checkpoint(step)) as folder:
            for name, part in parts.items():
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
                files[name] = {"version": part.version, "size": target.stat().st_size}
            manifest = {"version": VERSION, "step": step, "files": files, "notes": notes}
            (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        self.last = Checkpoint(step, self._run.checkpoint(step), notes, files)
        self._prune(step)
        return self.last

    def _prune(self, newest: int) -> None:
        if self._limit is not None:
            older = [step for step in self._run.checkpoints() if step < newest]
            for step in older[: max(0, len(older) + 1 - self._limit)]:
                discard(self._run.checkpoint(step))


def choose(run: RunDir, config: Config) -> Checkpoint | None:
    """The checkpoint to go on from, or None for a start from the beginning.

    Raises:
        UserError: the one that the config names is not there.
    """
    wanted = config.resume_from_checkpoint
    steps = run.checkpoints()
    if wanted == "latest":
        return Checkpoint.read(run, steps[-1]) if steps else None
    name = Path(wanted).name
    number = name.removeprefix("checkpoint-")
    if not number.isdecimal() or int(number) not in steps:
        raise UserError(
            "resume_from_checkpoint",
            f"this run has no {wanted!r}",
            f"It has: {', '.join(f'checkpoint-{step}' for step in steps) or 'none'}.",
        )
    return Checkpoint.read(run, int(number))


def discard_after(run: RunDir, step: int) -> None:
    """Delete the checkpoints that follow the one gone back to."""
    for later in run.checkpoints():
        if later > step:
            discard(run.checkpoint(later))


def discard(folder: Path) -> None:
    """Delete a checkpoint so that a reader never sees half of it."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    folder.rename(aside)
    shutil.rmtree(aside)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
