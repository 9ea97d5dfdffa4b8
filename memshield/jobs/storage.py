"""Uploads and caches of owners, which hold training pictures."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from memshield.errors import UserError
from memshield.jobs.folders import Folders, require_owner
from memshield.jobs.records import REQUEST_KINDS
from memshield.jobs.store import Store
from memshield.rundir import bytes_in


@dataclass(frozen=True)
class Kept:
    """Bytes that a server keeps of an owner beside the runs.

    Attributes:
        uploads: pictures that the owner brought.
        cache: what was fetched from the Hub, and encoded pictures.
    """

    uploads: int
    cache: int


class OwnerStorage:
    """Uploads and caches of owners.

    Args:
        store, folders: of the server.
    """

    def __init__(self, store: Store, folders: Folders) -> None:
        self._store = store
        self._folders = folders

    def of(self, owner: str) -> Kept:
        """Count what is kept of an owner."""
        require_owner(owner)
        return Kept(bytes_in(self._folders.uploads(owner)), bytes_in(self._folders.cache(owner)))

    def delete(self, owner: str) -> None:
        """Delete an owner's uploads, caches and results of requests; runs and their models stay.

        Raises:
            UserError: a job of the owner is running, or waits, or not all could be deleted.
        """
        require_owner(owner)
        jobs = self._store.jobs_of(owner)
        if any(job.current for job in jobs):
            raise UserError(
                "job", "something of yours runs or waits", "Stop it, or wait for its end."
            )
        for folder in (self._folders.uploads(owner), self._folders.cache(owner)):
            shutil.rmtree(folder, ignore_errors=True)
            if folder.exists():
                raise UserError("job", "not all of it could be deleted", "Try again in a moment.")
        # Among drawn pictures are the training pictures nearest to them.
        for job in jobs:
            if job.kind in REQUEST_KINDS:
                self._store.hide(job)
