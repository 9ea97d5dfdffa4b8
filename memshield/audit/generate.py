"""Generates pictures to disk: any number in bounded memory, resuming after a kill.

images.npy      [N, C, H, W] uint8, black where a picture is broken
images.json     which set it is, how much of it is done, and which pictures are broken
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from memshield.audit.images import ImageSet, Ints, Pixels, of_array_file
from memshield.audit.report import IMAGES, IMAGES_RECORD
from memshield.audit.team import Team
from memshield.digests import texts_sha256
from memshield.errors import UserError
from memshield.families.base import Family
from memshield.families.pixels import to_bytes
from memshield.families.repository import Repository
from memshield.quantities import size
from memshield.randomness import Purpose, torch_seed
from memshield.rundir import write_text

VERSION = 1


@dataclass(frozen=True)
class GeneratedImages:
    """A finished set of generated pictures.

    Attributes:
        images: [N, C, H, W] uint8, black where broken.
        broken: places of pictures with values that are no numbers: a failed model's.
    """

    images: ImageSet
    broken: Ints


def generate(
    family: Family,
    folder: Path,
    count: int,
    seed: int,
    prompts: Sequence[str] | None,
    steps: int,
    progress: Callable[[int], object] | None = None,
    team: Team | None = None,
) -> GeneratedImages:
    """Sample pictures with the current weights, or reuse those that the folder holds.

    A set that was begun is finished, with the very pictures that one process would have made. A
    folder that holds another set (another count, seed, number of steps, prompts or weights) is
    begun anew: whoever asks for other pictures wants them, and the old ones can be made again.

    Args:
        family: the model, in its own precision.
        folder: of this set; it is made if need be. Nothing else in it is touched.
        count: N.
        seed: of all pictures; each has a seed of its own.
        prompts: [N], or None for models without text.
        steps: of denoising.
        progress: called with the number of pictures that are done.
        team: of processes that share the work; all of them call this.

    Raises:
        ValueError: there are not as many prompts as pictures.
        OSError: the disk has no room for all of them.
    """
    if prompts is not None and len(prompts) != count:
        raise ValueError(f"{len(prompts)} prompts for {count} pictures")
    side = int(family.config.resolution or 0)
    wanted = {
        "version": VERSION,
        "shape": [count, family.facts.channels, side, side],
        "precision": str(family.frozen_dtype),
        "base": [family.config.pretrained_model_name_or_path, family.config.revision],
        "weights": _digest_of_weights(family),
        # As it is read back: JSON has no tuples.
        "scheduler": json.loads(json.dumps(family.facts.scheduler)),
        "vae": _name_of(family.facts.vae_repository),
        "seed": seed,
        "steps": steps,
        "prompts": None if prompts is None else texts_sha256(prompts),
    }
    team = team or Team()
    record = _begun(folder, wanted)
    if team.is_first and record is None:
        record = _begin(folder, wanted)
    done: int = team.gather(record and record["done"])[0]
    at_once = family.at_once()
    # A batch a process, then they meet: what is noted as done has no gaps. The batches are those
    # of one process.
    for first in range(done, count, at_once * team.count):
        start = first + at_once * team.rank
        places = range(start, min(start + at_once, count))
        broken: list[int] = []
        if places:
            seeds = [torch_seed(seed, Purpose.GENERATE, place) for place in places]
            texts = None if prompts is None else [prompts[place] for place in places]
            values = family.sample(seeds, texts, steps)
            whole = np.asarray(np.isfinite(values).all(axis=(1, 2, 3)))
            pixels = to_bytes(values) * whole[:, None, None, None]
            _write(folder / IMAGES, places, pixels.transpose(0, 3, 1, 2))
            broken = (start + np.flatnonzero(~whole)).tolist()
        found = team.gather(broken)
        done = min(first + at_once * team.count, count)
        if team.is_first and record is not None:
            record["broken"] += [place for part in found for place in part]
            record["done"] = done
            _note(folder, record)
        if progress is not None:
            progress(done)
    team.gather(None)
    return open_generated(folder)


def open_generated(folder: Path) -> GeneratedImages:
    """A finished set.

    Raises:
        UserError: there is none in the folder.
    """
    record = _read(folder)
    there = record is not None and (folder / IMAGES).is_file()
    if record is None or not there or record["done"] != record["shape"][0]:
        raise UserError(
            "images", f"{folder} holds no finished set of generated pictures", "Generate it first."
        )
    images = of_array_file(folder / IMAGES)
    return GeneratedImages(images, np.asarray(record["broken"], dtype=np.int64))


def _begun(folder: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """The record of this very set."""
    record = _read(folder)
    same = record is not None and {name: record.get(name) for name in wanted} == wanted
    return record if same and (folder / IMAGES).is_file() else None


def _begin(folder: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    # A record must never lie beside pictures that it does not tell of.
    (folder / IMAGES_RECORD).unlink(missing_ok=True)
    path, needed = folder / IMAGES, math.prod(wanted["shape"])
    path.unlink(missing_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            "num_images",
            f"{wanted['shape'][0]:,} pictures take {size(needed)}, and {size(free)} are free",
            "Generate fewer, or make room.",
        )
    try:
        open_memmap(path, mode="w+", dtype=np.uint8, shape=tuple(wanted["shape"]))
        if hasattr(os, "posix_fallocate"):
            # A process that writes to a mapped page for which the disk has no room is killed.
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, file.seek(0, os.SEEK_END))
    except OSError:  # it keeps what it got
        path.unlink(missing_ok=True)
        raise
    record = {**wanted, "done": 0, "broken": []}
    _note(folder, record)
    return record


def _write(path: Path, places: range, pixels: Pixels) -> None:
    # Opened for each batch: the pages of a mapped file count as this process's memory.
    mapped = open_memmap(path, mode="r+")
    mapped[places.start : places.stop] = pixels
    mapped.flush()


def _note(folder: Path, record: dict[str, Any]) -> None:
    write_text(folder / IMAGES_RECORD, json.dumps(record) + "\n")


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        record = json.loads((folder / IMAGES_RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    ours = isinstance(record, dict) and record.get("version") == VERSION
    return record if ours else None


def _name_of(repository: Repository | None) -> list[str | None] | None:
    """What names a replacement VAE."""
    return None if repository is None else [repository.name, repository.revision]


def _digest_of_weights(family: Family) -> str:
    digest = hashlib.sha256()
    for name, parameter in family.trainable().items():
        digest.update(name.encode() + b"\0")
        digest.update(parameter.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()
