"""The metadata file of a picture folder: which picture has which caption."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memshield.hub.catalog.archives import NamedFiles, beside

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
READ_WHOLE = 16 * 2**20
"""Bytes up to which a metadata file is read whole; of a larger one only its first megabyte."""
_HEAD = 2**20
_FILE_NAME = "file_name"


@dataclass(frozen=True)
class Metadata:
    """One metadata file.

    Attributes:
        name: of the file.
        table: its first lines, as they stand there.
        whole: whether these are all.
    """

    name: str
    table: pa.Table
    whole: bool

    def features(self) -> datasets.Features:
        """Types of the columns; those that name files hold the pictures."""
        import datasets

        found = datasets.Features.from_arrow_schema(self.table.schema)
        return datasets.Features(
            {
                _column(key): datasets.Image() if _names_file(key) else feature
                for key, feature in found.items()
            }
        )

    def rows(self, image: str, count: int) -> Iterator[tuple[str | None, dict[str, Any]]]:
        """The first lines: the name of the file in column `image`, and all values."""
        keys = [key for key in self.table.column_names if _column(key) == image]
        if not keys:
            raise ValueError(f"{self.name} has no column for {image}")
        for values in self.table.slice(0, count).to_pylist():
            relative = values[keys[0]]
            yield beside(self.name, relative) if isinstance(relative, str) else None, values


def read_metadata(files: NamedFiles, name: str) -> Metadata:
    """Read a metadata file, or its beginning.

    Raises:
        ValueError: it is broken, names no files, or is a large parquet file.
    """
    import pyarrow as pa
    import pyarrow.csv as pac
    import pyarrow.json as paj
    import pyarrow.parquet as pq

    whole = (files.size(name) or 0) <= READ_WHOLE
    data = files.read(name, READ_WHOLE if whole else _HEAD)
    if not whole:
        data = data[: data.rfind(b"\n") + 1]
    try:
        if name.endswith(".csv"):
            quoted = pac.ParseOptions(newlines_in_values=True)
            table = pac.read_csv(io.BytesIO(data), parse_options=quoted)
        elif name.endswith(".jsonl"):
            one_block = paj.ReadOptions(block_size=len(data) + 1)
            table = paj.read_json(io.BytesIO(data), read_options=one_block)
        else:
            table = pq.read_table(io.BytesIO(data))
    except pa.ArrowException as error:
        raise ValueError(f"{name}: {error}") from None
    if not any(_names_file(key) for key in table.column_names):
        raise ValueError(f"{name} has no column {_FILE_NAME}")
    return Metadata(name, table, whole)


def _names_file(key: str) -> bool:
    return key == _FILE_NAME or key.endswith(f"_{_FILE_NAME}")


def _column(key: str) -> str:
    return (key.removesuffix(_FILE_NAME).removesuffix("_") or "image") if _names_file(key) else key
