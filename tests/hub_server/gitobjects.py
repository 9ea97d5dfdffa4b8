"""Git's object ids, computed as git computes them, so that ids are those of a real repo."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

FILE_MODE = "100644"
FOLDER_MODE = "40000"

# A commit's id covers its author and time. They are constant, which makes the id a function of
# the files and the history alone: the same folder always has the same revision.
SIGNATURE = "hub <hub@localhost> 1700000000 +0000"
COMMIT_TIME = "2023-11-14T22:13:20.000Z"


def object_id(kind: str, data: bytes) -> str:
    """The id of a blob, tree or commit."""
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data).hexdigest()


def lfs_pointer(sha256: str, size: int) -> bytes:
    """The text that git stores in place of a file kept in LFS."""
    lines = ("version https://git-lfs.github.com/spec/v1", f"oid sha256:{sha256}", f"size {size}")
    return ("\n".join(lines) + "\n").encode()


def tree_ids(blob_ids: Mapping[str, str]) -> dict[str, str]:
    """From each file's path and blob id to each folder's path and tree id; "" is the root."""
    children: dict[str, dict[str, tuple[str, str]]] = {"": {}}
    for path, blob_id in blob_ids.items():
        folder, _, name = path.rpartition("/")
        children.setdefault(folder, {})[name] = (FILE_MODE, blob_id)
        while folder:
            folder = folder.rpartition("/")[0]
            children.setdefault(folder, {})
    ids: dict[str, str] = {}
    # Deepest first: a folder's id is made of its subfolders' ids. The root is shallower than a
    # folder at top level, though both paths are free of slashes.
    for folder in sorted(children, key=lambda path: (path != "", path.count("/")), reverse=True):
        ids[folder] = _tree_id(children[folder])
        if folder:
            parent, _, name = folder.rpartition("/")
            children[parent][name] = (FOLDER_MODE, ids[folder])
    return ids


def _tree_id(entries: Mapping[str, tuple[str, str]]) -> str:
    def order(name: str) -> bytes:
        # Git sorts a folder as if its name ended in a slash.
        return (name + "/" if entries[name][0] == FOLDER_MODE else name).encode()

    lines = (
        f"{entries[name][0]} {name}\0".encode() + bytes.fromhex(entries[name][1])
        for name in sorted(entries, key=order)
    )
    return object_id("tree", b"".join(lines))


def commit_id(tree_id: str, parent: str | None, message: str) -> str:
    """The id of a commit, the first one if it has no parent."""
    lines = [f"tree {tree_id}"]
    if parent is not None:
        lines.append(f"parent {parent}")
    lines += [f"author {SIGNATURE}", f"committer {SIGNATURE}", "", message]
    return object_id("commit", ("\n".join(lines) + "\n").encode())
