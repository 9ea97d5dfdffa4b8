"""What page tests share: runs that are trained once, and jobs that are done at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from memshield.jobs.service import Jobs
from tests.hub.conftest import captions as captions
from tests.hub.conftest import tiny_base as tiny_base
from tests.hub.conftest import trained_digits as trained_digits
from tests.jobs.children import DONE, open_jobs
from tests.ui.servers import Running, end_tasks, home_environment, serving


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    """Jobs of which every training is done at once."""
    made = open_jobs(tmp_path / "data", DONE)
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Of one server, none of whose trainings is left."""
    yield tmp_path
    end_tasks(tmp_path / "data")


@pytest.fixture
def home(folder: Path) -> Iterator[Running]:
    """The page at home, where no Hub answers."""
    with serving(folder, home_environment(folder)) as running:
        yield running
