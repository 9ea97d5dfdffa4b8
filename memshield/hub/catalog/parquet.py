"""Reading parquet files in place: footers, and the pages of the first rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from memshield.data.archives import LARGEST_PICTURE
from memshield.hub.catalog.reader import Row
from memshield.hub.catalog.remote import RemoteFiles

if TYPE_CHECKING:
    import datasets

MOST_FOOTERS = 64
"""Files whose footers are read to count rows; each takes a request."""
_BUFFER = 2**20


class ParquetReader:
    """Parquet files by split.

    Args:
        remote: the repository.
        splits: paths of the files.
    """

    def __init__(self, remote: RemoteFiles, splits: Mapping[str, Sequence[str]]) -> None:
        self._remote = remote
        self._splits = splits
        self._footers: dict[str, pq.FileMetaData] = {}

    def features(self) -> datasets.Features:
        """Types of the columns, from the first file."""
        import datasets

        first = next(path for paths in self._splits.values() for path in paths)
        with self._open(first) as file:
            return datasets.Features.from_arrow_schema(file.schema_arrow)

    def count(self, split: str) -> int | None:
        """Rows, from the footers; None where there are too many files."""
        paths = self._splits[split]
        if len(paths) > MOST_FOOTERS:
            return None
        total = 0
        for path in paths:
            if path not in self._footers:
                with self._open(path):
                    pass
            total += int(self._footers[path].num_rows)
        return total

    def holds_only_paths(self, image: str) -> bool:
        """Whether the first file counts no bytes in a column; footers may say nothing of that."""
        first = next(path for paths in self._splits.values() for path in paths)
        with self._open(first) as file:
            footer = file.metadata
        for group in map(footer.row_group, range(min(1, footer.num_row_groups))):
            for column in map(group.column, range(group.num_columns)):
                counts = column.statistics
                if column.path_in_schema == f"{image}.bytes" and counts and counts.has_null_count:
                    return bool(counts.null_count == group.num_rows)
        return False

    def first(self, split: str, image: str, caption: str | None, count: int) -> Iterator[Row]:
        """The first rows. A picture that is stored as a path is not followed."""
        number = 0
        columns = [image, *([caption] if caption is not None else [])]
        for path in self._splits[split]:
            with self._open(path) as file:
                for column in columns:
                    if column not in file.schema_arrow.names:
                        raise ValueError(f"{path} has no column {column!r}")
                # One at a time, so that no more pages are fetched than are shown.
                for batch in file.iter_batches(batch_size=1, columns=columns, use_threads=False):
                    for values in batch.to_pylist():
                        stored, problem = _stored(values[image])
                        said = None if caption is None else values[caption]
                        yield Row(number, stored, said, problem)
                        number += 1
                        if number == count:
                            return

    @contextmanager
    def _open(self, path: str) -> Iterator[Any]:
        try:
            with (
                self._remote.open(path) as source,
                # Without a buffer the whole of a column chunk would be fetched for its first row.
                pq.ParquetFile(
                    source,
                    metadata=self._footers.get(path),
                    buffer_size=_BUFFER,
                    pre_buffer=False,
                ) as file,
            ):
                self._footers[path] = file.metadata
                yield file
        except OSError as error:
            # Arrow's word for pages that cannot be unpacked; the Hub's errors have classes.
            if type(error) is not OSError:
                raise
            raise ValueError(f"{path}: {error}") from None


def _stored(value: Any) -> tuple[Any, str | None]:
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str):
        return None, "it is stored as a path, which is not followed"
    if not isinstance(value, bytes):
        return None, "there is no picture"
    if len(value) > LARGEST_PICTURE:
        return None, f"its {len(value)} bytes are more than is safe to decode"
    return value, None
