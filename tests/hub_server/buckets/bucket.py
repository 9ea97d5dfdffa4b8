"""All buckets of a Hub, each a folder."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.hub_server.buckets.xet import ChunkStorage


@dataclass
class Bucket:
    """A bucket. `capacity` is the most bytes that it takes, or None without a limit."""

    id: str
    folder: Path
    private: bool
    capacity: int | None = None
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def owner(self) -> str:
        return self.id.split("/")[0]

    def path(self, name: str) -> Path:
        """Where a file lies; never outside of the bucket."""
        path = self.folder / name
        if ".." in Path(name).parts or Path(name).is_absolute() or not name:
            raise ValueError(f"{name!r} is no path in a bucket")
        return path

    def files(self, prefix: str = "") -> list[Path]:
        """All files below a prefix, which names a folder or a file."""
        root = self.folder / prefix
        found = [root] if root.is_file() else sorted(root.rglob("*"))
        return [path for path in found if path.is_file()]

    @property
    def size(self) -> int:
        return sum(path.stat().st_size for path in self.files())


class Buckets:
    """Buckets by their ids, below one folder."""

    def __init__(self, root: Path) -> None:
        self.lock = threading.RLock()
        self.chunks = ChunkStorage()
        self._root = root
        self._buckets: dict[str, Bucket] = {}
        self._etags: dict[Path, tuple[tuple[int, int], str]] = {}

    def add(self, id: str, private: bool) -> Bucket:
        folder = self._root / id
        folder.mkdir(parents=True)
        self._buckets[id] = Bucket(id, folder, private)
        return self._buckets[id]

    def get(self, id: str) -> Bucket | None:
        return self._buckets.get(id)

    def remove(self, bucket: Bucket) -> None:
        del self._buckets[bucket.id]

    def etag(self, path: Path) -> str:
        """The hash of a file's content, read again only when it has changed."""
        stat = path.stat()
        key = (stat.st_mtime_ns, stat.st_size)
        with self.lock:
            if self._etags.get(path, (None, ""))[0] != key:
                self._etags[path] = key, hashlib.sha256(path.read_bytes()).hexdigest()
            return self._etags[path][1]
