"""A copy of the job store for the next machine, on a disk that SQLite cannot work on.

A mounted bucket outlives its Space's machine, but has neither the locks nor the shared memory that
SQLite needs: the store works on the local disk, and whole files go to the bucket.
"""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from memshield.errors import UserError


class Copy:
    """The copy of a store.

    Args:
        store: the file that SQLite works on.
        path: of the copy.
    """

    def __init__(self, store: Path, path: Path) -> None:
        self._store = store
        self._path = path
        self._changes = -1

    def restore(self) -> None:
        """Restore the copy on a machine that has no store yet.

        Raises:
            UserError: it cannot be read.
        """
        if self._store.exists() or not self._path.is_file():
            return
        part = self._store.with_suffix(".part")
        try:
            shutil.copyfile(self._path, part)
            part.replace(self._store)
        except OSError as error:
            raise UserError(
                f"job store {self._path}", f"its copy cannot be read: {error.strerror}",
                "Check the bucket, or move the file away to begin with an empty one.",
            ) from None  # fmt: skip

    def take(self, db: sqlite3.Connection) -> bool:
        """Copy the store to a file beside it, if it has changed; the caller holds off writers."""
        if db.total_changes == self._changes:
            return False
        whole = sqlite3.connect(self._aside)
        try:
            db.backup(whole)
            whole.execute("PRAGMA journal_mode = DELETE")
        finally:
            whole.close()
        return True

    def send(self, changes: int) -> None:
        """Replace the copy by the one just taken.

        Args:
            changes: of the store when it was taken.

        Raises:
            OSError: it cannot be written; the one before is still there.
        """
        part = self._path.with_suffix(".part")
        shutil.copyfile(self._aside, part)
        part.replace(self._path)
        self._changes = changes

    @property
    def _aside(self) -> Path:
        return self._store.with_suffix(".copy")
