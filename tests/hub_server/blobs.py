"""A file's content, and whether the Hub keeps it in git or in LFS."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from tests.hub_server.gitobjects import lfs_pointer, object_id
from tests.hub_server.spool import Body

# What .gitattributes of a new repo names, as far as tests have such files.
WEIGHT_SUFFIXES = (".bin", ".ckpt", ".h5", ".msgpack", ".onnx", ".pt", ".pth", ".safetensors")
DATA_SUFFIXES = (".arrow", ".npy", ".npz", ".parquet", ".pickle", ".pkl")
ARCHIVE_SUFFIXES = (".gz", ".tar", ".tgz", ".zip", ".zst")
PICTURE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tiff", ".webp")
LFS_SUFFIXES = frozenset(WEIGHT_SUFFIXES + DATA_SUFFIXES + ARCHIVE_SUFFIXES)
LARGEST_IN_GIT = 10 * 1024 * 1024


@dataclass(frozen=True)
class Blob:
    """The bytes of one file. Not a path: they must not change under a commit whose id was
    computed from them."""

    data: Body
    is_lfs: bool

    @property
    def size(self) -> int:
        return len(self.data)

    @cached_property
    def sha256(self) -> str:
        """The content's address in LFS."""
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        """What git holds instead, if the file is in LFS."""
        return lfs_pointer(self.sha256, self.size)

    @cached_property
    def oid(self) -> str:
        """The git id of what git itself holds: the file, or the pointer to it."""
        return object_id("blob", self.pointer if self.is_lfs else bytes(self.data))

    @property
    def etag(self) -> str:
        return self.sha256 if self.is_lfs else self.oid


def is_lfs(repo_type: str, path: str, size: int) -> bool:
    """Whether a file goes to LFS; pictures do so in datasets only."""
    suffix = PurePosixPath(path).suffix.lower()
    is_picture_of_dataset = repo_type == "dataset" and suffix in PICTURE_SUFFIXES
    return suffix in LFS_SUFFIXES or is_picture_of_dataset or size > LARGEST_IN_GIT
