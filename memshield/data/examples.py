"""The table of examples: what every picture of a run is, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from memshield.data.tables import write_table
from memshield.errors import UserError

Ints = npt.NDArray[np.int64]
MEMBER, HELD_OUT, WATCHED, DROPPED = "member", "held_out", "watched", "dropped"


@dataclass(frozen=True)
class Examples:
    """One entry a usable picture; an example's index is its place in these arrays.

    Attributes:
        row: [N] row of the (shuffled and cut, if max_train_samples is set) dataset.
        sha256: [N] of the decoded picture's size and RGB pixels.
        split: [N] member, held_out (for audits), watched (its loss is looked at while training),
            or dropped (a duplicate under `duplicates: drop`).
        shard: [N] shard of a member, -1 for the others.
        group: [N] duplicate group.
        label: [N] class, -1 where unknown.
        width, height: [N] of the upright picture in pixels.
    """

    row: Ints
    sha256: npt.NDArray[np.str_]
    split: npt.NDArray[np.str_]
    shard: Ints
    group: Ints
    label: Ints
    width: Ints
    height: Ints

    def __len__(self) -> int:
        return len(self.row)

    def members(self) -> Ints:
        """Indices of the pictures that are trained on."""
        return np.flatnonzero(self.split == MEMBER)

    def held_out(self) -> Ints:
        """Indices of the pictures that are kept back."""
        return np.flatnonzero(self.split == HELD_OUT)

    def watched(self) -> Ints:
        """Indices of the pictures whose loss is watched while training."""
        return np.flatnonzero(self.split == WATCHED)

    def of_shard(self, shard: int) -> Ints:
        """Indices of one shard's pictures."""
        return np.flatnonzero(self.shard == shard)

    @property
    def num_shards(self) -> int:
        """Number of shards K."""
        return int(self.shard.max()) + 1

    def shard_sizes(self) -> list[int]:
        """Pictures in each shard."""
        return [int(n) for n in np.bincount(self.shard[self.shard >= 0])]

    def all_square(self) -> bool:
        """Whether no crop is needed: every picture is as wide as high."""
        return bool((self.width == self.height).all())

    def write(self, path: Path) -> None:
        """Write the table as parquet, with the index as its first column."""
        columns: dict[str, Any] = {"index": np.arange(len(self))}
        columns |= {field.name: getattr(self, field.name) for field in fields(self)}
        write_table(path, columns)

    @classmethod
    def read(cls, path: Path) -> Examples:
        """Read what `write` wrote.

        Raises:
            UserError: it is not there, or is damaged.
        """
        try:
            table = pq.read_table(path)
        except FileNotFoundError:
            raise UserError(
                path.parent.name, f"has no {path.name}, so its pictures are not known",
                "Bring the whole run directory here.",
            ) from None  # fmt: skip
        except pa.ArrowInvalid:
            raise UserError(
                path.parent.name, f"its {path.name} is damaged", "Bring a whole copy of it here."
            ) from None
        columns = {field.name: table[field.name].to_numpy() for field in fields(cls)}
        for name in ("sha256", "split"):
            columns[name] = np.asarray(columns[name].tolist(), dtype=np.str_)
        return cls(**columns)
