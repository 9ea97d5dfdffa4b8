"""Tables of numbers and words as parquet files.

pyarrow imports pandas for whatever it is to look at itself, which takes a third of a second of
every start. Buffers it takes as they are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

Column = npt.NDArray[np.int64] | npt.NDArray[np.str_]


def write_table(path: Path, columns: Mapping[str, Column]) -> None:
    """Write columns, by their names, whole or not at all."""
    table = pa.table([_array(column) for column in columns.values()], names=list(columns))
    aside = path.with_name(f".{path.name}.tmp")
    with aside.open("wb") as file:
        pq.write_table(table, file)
        file.flush()
        os.fsync(file.fileno())  # or a machine that loses its power may leave an empty table
    aside.replace(path)


def _array(column: Column) -> pa.Array:
    if column.dtype.kind != "U":
        values = np.ascontiguousarray(column, np.int64)
        return pa.Array.from_buffers(pa.int64(), len(column), [None, pa.py_buffer(values)])
    words = [word.encode() for word in column.tolist()]
    ends = np.cumsum([0, *map(len, words)], dtype=np.int32)
    return pa.StringArray.from_buffers(
        len(words), pa.py_buffer(ends), pa.py_buffer(b"".join(words))
    )
