"""A dataset on the Hub that was looked up and may be read, with a reader for its format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from huggingface_hub import DatasetInfo, HfFileSystem
from huggingface_hub.errors import HfHubHTTPError

from memshield.errors import UserError
from memshield.hub.catalog.data_files import FIELD, DataFiles, find_data_files, unreadable
from memshield.hub.catalog.folder import FolderReader
from memshield.hub.catalog.parquet import ParquetReader
from memshield.hub.catalog.reader import Reader
from memshield.hub.catalog.remote import RemoteFiles
from memshield.hub.catalog.sharded import ShardReader
from memshield.network import Token, asking

FORMATS = ("parquet", "imagefolder", "webdataset")
"""Those that can be looked into in place."""


@dataclass(frozen=True)
class Opened:
    """One configuration.

    Attributes:
        files: what would be loaded.
        remote: the repository.
        reader: of its format; None where it cannot be looked into in place.
    """

    files: DataFiles
    remote: RemoteFiles
    reader: Reader | None


@contextmanager
def opening(info: DatasetInfo, config: str | None, token: Token) -> Iterator[Opened]:
    """Open a configuration, and name what goes wrong inside while its files are read.

    Args:
        info: of a dataset that this token may read.
        config: name of the configuration; None for the default one, or else the first.
        token: see `memshield.network.Token`.

    Raises:
        UserError: see `find_data_files`; or files that are broken or cannot be had.
    """
    remote = RemoteFiles.of(info, token)
    try:
        with asking(FIELD, info.id, "dataset", token=token):
            files = find_data_files(remote, config)
            try:
                yield Opened(files, remote, _reader(remote, files))
            except (UserError, HfHubHTTPError):
                raise
            # What Python makes of strangers' files with headers that lie.
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise unreadable(f"a file of {info.id} is broken", error) from None
    finally:
        _forget(token)


def _forget(token: Token) -> None:
    """Have the Hub's library forget this token, and the lists of files that it read with it.

    It keeps both for as long as the process lives, which on a server outlives every sign-in.
    """
    kept = HfFileSystem._cache
    for key, system in list(kept.items()):
        if system.token == token:  # those of other visitors are being read
            kept.pop(key, None)


def _reader(remote: RemoteFiles, files: DataFiles) -> Reader | None:
    if files.format == "parquet":
        return ParquetReader(remote, files.splits)
    if files.format == "imagefolder":
        return FolderReader(remote, files.splits, files.drop_labels, files.drop_metadata)
    if files.format == "webdataset":
        return ShardReader(remote, files.splits)
    return None
