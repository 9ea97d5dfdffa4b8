"""What a server keeps of an owner beside the runs: training pictures are among it."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from memshield.errors import UserError
from memshield.jobs.folders import Folders, require_owner
from memshield.jobs.store import Store


@dataclass(frozen=True)
class Kept:
    """Bytes of it.

    Attributes:
        uploads: pictures that the owner brought.
        cache: what was fetched from the Hub, and encoded pictures.
    """

    uploads: int
    cache: int


class Belongings:
    """Uploads and caches of owners.

    Args:
        store, folders: of the server.
    """

    def __init__(self, store: Store, folders: Folders) -> None:
        self._store = store
        self._folders = folders

    def of(self, owner: str) -> Kept:
        """How much is kept of an owner."""
        require_owner(owner)
        return Kept(_size(self._folders.uploads(owner)), _size(self._folders.cache(owner)))

    def delete(self, owner: str) -> None:
        """Delete all of it; runs and their models stay.

        Raises:
            UserError: a job of the owner is running, or waits.
        """
        require_owner(owner)
        if any(job.current for job in self._store.jobs_of(owner)):
            raise UserError(
                "job", "something of yours runs or waits", "Stop it, or wait for its end."
            )
        for folder in (self._folders.uploads(owner), self._folders.cache(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _size(folder: Path) -> int:
    """Bytes of all files; those that links lead to count where they lie."""
    return sum(
        os.lstat(os.path.join(place, name)).st_size
        for place, _, names in os.walk(folder)
        for name in names
    )
