"""An immutable state of a repo's files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.hub_server.blobs import Blob, is_lfs
from tests.hub_server.gitobjects import commit_id, tree_ids

# A checkout's own bookkeeping, and that of snapshot_download(local_dir=...): not content.
NOT_CONTENT = frozenset({".git", ".cache"})


@dataclass(frozen=True)
class Commit:
    """The files by path, in order of path, and the commit before this one."""

    files: Mapping[str, Blob]
    parent: str | None = None
    title: str = "Add files"
    description: str = ""

    @cached_property
    def folders(self) -> Mapping[str, str]:
        """Each folder's tree id by path; the root's path is ""."""
        return tree_ids({path: blob.oid for path, blob in self.files.items()})

    @cached_property
    def oid(self) -> str:
        message = "\n\n".join(part for part in (self.title, self.description) if part)
        return commit_id(self.folders[""], self.parent, message)


def commit_of_folder(repo_type: str, folder: Path) -> Commit:
    """The folder's files as they are now. Links are followed, as in a Hub cache's snapshot."""
    if not folder.is_dir():
        raise ValueError(f"folder must be an existing directory, got {folder}")
    files: dict[str, Blob] = {}
    for file in sorted(folder.rglob("*")):
        relative = file.relative_to(folder)
        if file.is_file() and NOT_CONTENT.isdisjoint(relative.parts):
            path, data = relative.as_posix(), file.read_bytes()
            files[path] = Blob(data, is_lfs(repo_type, path, len(data)))
    return Commit(files)
