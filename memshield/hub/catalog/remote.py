"""Reading parts of a dataset's files where they lie, at one commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any, cast

from huggingface_hub import DatasetInfo, HfFileSystem

from memshield.network import Token

_BLOCK = 2**20
"""Bytes that are read ahead."""
MOST_READ = 256 * 2**20
"""Bytes of one file; lists and first rows take far less, unless they are made to harm."""


@dataclass(frozen=True)
class RemoteFiles:
    """The files of a dataset's repository.

    Attributes:
        id: owner/name.
        sha: the commit.
        sizes: bytes by path; what is not listed here is never opened.
        token: see `memshield.network.Token`.
    """

    id: str
    sha: str
    sizes: Mapping[str, int]
    token: Token = field(repr=False)

    @classmethod
    def of(cls, info: DatasetInfo, token: Token) -> RemoteFiles:
        """The files of a dataset that was looked up."""
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
        return cls(info.id, str(info.sha), sizes, token)

    @property
    def root(self) -> str:
        """The prefix that the datasets library puts before the paths of these files."""
        return f"hf://datasets/{self.id}@{self.sha}/"

    def open(self, path: str) -> IO[bytes]:
        """A file that fetches only what is read of it, by range requests."""
        if path not in self.sizes:
            raise FileNotFoundError(path)
        file = HfFileSystem(token=self.token).open(self.root + path, block_size=_BLOCK)
        return cast(IO[bytes], _Metered(file, self.sizes[path]))

    def read(self, path: str, most: int) -> bytes:
        """The first bytes of a file, at most so many."""
        with self.open(path) as file:
            return file.read(most)


class _Metered:
    """A file that refuses to be read further than is reasonable."""

    def __init__(self, file: Any, size: int) -> None:
        self._file = file
        self._size = size
        self._left = MOST_READ

    def read(self, count: int = -1) -> bytes:
        wanted = self._size - self._file.tell() if count < 0 else count
        if wanted > self._left:
            raise ValueError(f"more than {MOST_READ} bytes of a file would have to be read")
        data: bytes = self._file.read(count)
        self._left -= len(data)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Metered:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
