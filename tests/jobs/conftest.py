"""A folder for a server's jobs, after which no process of theirs is left."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from memshield.jobs.processes import MARK


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "server"
    yield folder
    ids = {path.name for path in (folder / "jobs").glob("*")}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK, "").rpartition(":")[0] in ids:
                process.kill()
