"""Reading folders of pictures in place, by the rules of the datasets library's imagefolder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from memshield.data.archives import LARGEST_PICTURE, folder_labels
from memshield.hub.catalog.archives import MOST_ARCHIVES, NamedFiles, archives_of
from memshield.hub.catalog.metadata import METADATA, Metadata, read_metadata
from memshield.hub.catalog.reader import Row
from memshield.hub.catalog.remote import RemoteFiles

if TYPE_CHECKING:
    import datasets


class FolderReader:
    """Picture files by split, loose or in zip archives.

    Args:
        remote: the repository.
        splits: paths of pictures, archives and metadata files.
        drop_labels: whether folders' names are no labels; None to see whether they look so.
        drop_metadata: whether metadata files are left alone; None for no.
    """

    def __init__(
        self,
        remote: RemoteFiles,
        splits: Mapping[str, Sequence[str]],
        drop_labels: bool | None,
        drop_metadata: bool | None,
    ) -> None:
        self._files = NamedFiles(remote)
        self._splits = splits
        self._drop_labels = drop_labels
        self._drop_metadata = drop_metadata
        self._metadata = cache(self._read_metadata)

    def features(self) -> datasets.Features:
        """Types of the columns: those of the metadata, or a picture and perhaps a label."""
        import datasets

        for split in self._splits:
            for metadata in self._metadata(split)[:1]:
                return metadata.features()
        found = datasets.Features({"image": datasets.Image()})
        # Folders inside an archive, whatever folder that lies in.
        names = [
            name.rpartition("::")[2] for split in self._splits for name in self._pictures(split)
        ]
        if self._drop_labels is False:
            labels: list[str] | None = [PurePosixPath(name).parent.name for name in names]
        else:
            labels = None if self._drop_labels else folder_labels(names)
        if labels:
            found["label"] = datasets.ClassLabel(names=sorted(set(labels)))
        return found

    def count(self, split: str) -> int | None:
        """Lines of the metadata; picture files where there is none, or it is large."""
        if len(archives_of(self._splits[split])) > MOST_ARCHIVES:
            return None
        found = self._metadata(split)
        if found and all(metadata.whole for metadata in found):
            return sum(int(metadata.table.num_rows) for metadata in found)
        return len(self._pictures(split))

    def holds_only_paths(self, image: str) -> bool:
        """Never: a path leads to a file beside it."""
        return False

    def first(self, split: str, image: str, caption: str | None, count: int) -> Iterator[Row]:
        """The first pictures, in the order of the metadata where there is any."""
        found = self._metadata(split)
        if not found:
            for number, name in enumerate(self._pictures(split)[:count]):
                yield self._row(number, name, None)
            return
        number = 0
        for metadata in found:
            for file, values in metadata.rows(image, count - number):
                yield self._row(number, file, values.get(caption) if caption else None)
                number += 1

    def _row(self, number: int, name: str | None, caption: Any) -> Row:
        size = None if name is None else self._files.size(name)
        if name is None or size is None:
            return Row(number, None, caption, "its file is not there, or not in this dataset")
        if size > LARGEST_PICTURE:
            return Row(number, None, caption, f"its {size} bytes are more than is safe to decode")
        return Row(number, self._files.read(name, LARGEST_PICTURE), caption)

    def _pictures(self, split: str) -> list[str]:
        from datasets.packaged_modules.imagefolder.imagefolder import IMAGE_EXTENSIONS

        names = self._files.names(self._splits[split])
        return [name for name in names if PurePosixPath(name).suffix.lower() in IMAGE_EXTENSIONS]

    def _read_metadata(self, split: str) -> list[Metadata]:
        if self._drop_metadata:
            return []
        names = self._files.names(self._splits[split])
        named = [name for name in names if _file_of(name) in METADATA]
        return [read_metadata(self._files, name) for name in named]


def _file_of(name: str) -> str:
    return PurePosixPath(name.rpartition("::")[2]).name
