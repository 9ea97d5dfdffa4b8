"""Tables as parquet files: what pyarrow would have written, without pandas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memshield.data.tables import write_table


@pytest.mark.parametrize("count", [0, 5])
def test_a_table_is_the_one_that_pyarrow_makes(tmp_path: Path, count: int) -> None:
    columns = {
        "number": np.arange(2 * count)[::2] - 3,
        "word": np.asarray(["", "a", "Grüße", "画", "held_out"][:count], np.str_),
        "last": np.full(count, np.iinfo(np.int64).max),
    }
    write_table(tmp_path / "mine.parquet", columns)
    pq.write_table(pa.table(columns), tmp_path / "theirs.parquet")
    mine, theirs = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("mine", "theirs"))
    assert mine.equals(theirs)
    assert mine.schema == theirs.schema
    assert [path.name for path in tmp_path.iterdir() if path.name[0] == "."] == []
