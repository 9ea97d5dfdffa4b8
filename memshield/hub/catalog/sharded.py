"""Reading WebDataset shards in place: the first samples, as training groups them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

from memshield.data.shards import Layout, Sample, read_samples
from memshield.hub.catalog.reader import Row
from memshield.hub.catalog.remote import RemoteFiles

if TYPE_CHECKING:
    import datasets

_LOOKED_INTO = 8
"""Samples whose fields tell the columns; training looks through all of them."""


class ShardReader:
    """Shards by split.

    Args:
        remote: the repository.
        splits: paths of the shards.
    """

    def __init__(self, remote: RemoteFiles, splits: Mapping[str, Sequence[str]]) -> None:
        self._remote = remote
        self._splits = splits
        self._layout = cache(self._find_layout)

    def features(self) -> datasets.Features:
        """Types of the columns, from the first samples."""
        return self._layout().features()

    def count(self, split: str) -> int | None:
        """Unknown: a shard has no list of its contents."""
        return None

    def holds_only_paths(self, image: str) -> bool:
        """Never: the pictures are in the shards."""
        return False

    def first(self, split: str, image: str, caption: str | None, count: int) -> Iterator[Row]:
        """The first samples."""
        layout = self._layout()
        samples = (sample for path in self._splits[split] for sample in self._read(path))
        for number, row in enumerate(islice(layout.rows(samples), count)):
            if image not in row:
                raise ValueError(f"there is no column {image!r}")
            problem = None if row[image] else "there is no picture"
            yield Row(number, row[image], row.get(caption) if caption else None, problem)

    def _find_layout(self) -> Layout:
        first = next(path for paths in self._splits.values() for path in paths)
        # Of the pictures only the names are needed.
        samples = self._read(first, lambda field: field == "json")
        return Layout.of(islice(samples, _LOOKED_INTO))

    def _read(
        self, path: str, wanted: Callable[[str], bool] = lambda field: True
    ) -> Iterator[Sample]:
        try:
            with self._remote.open(path) as file:
                yield from read_samples(file, self._remote.sizes[path], wanted)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
