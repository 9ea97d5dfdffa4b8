"""WebDataset shards: tar archives; files that share a name up to the first dot are one sample.

Only pictures, texts, classes and the captions in JSON are read; everything else in a shard is
passed over, and nothing is unpacked to the disk.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from memshield.data.archives import (
    LARGEST_PICTURE,
    MOST_MEMBERS,
    ArchiveError,
    Bounded,
    is_hidden,
    require_growth,
)
from memshield.data.columns import CAPTIONS_IN_JSON

if TYPE_CHECKING:
    import datasets

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
PICTURES = ("jpg", "jpeg", "png", "webp", "avif", "bmp", "gif", "tif", "tiff", "ppm", "jp2")
TEXTS = ("txt", "text", "caption")
CLASSES = ("cls",)
JSON = "json"
MERGED = "image"
"""The column of pictures where they are of several types."""
_LARGEST_TEXT = 2**20
_MOST_COLUMNS = 32
_JSON_LOOKED_INTO = 100
_NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)")
_UNPACKERS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZ": bz2.BZ2File,
    b"\xfd7": lzma.LZMAFile,
}

Sample = dict[str, bytes]


def is_shard(name: str) -> bool:
    """Whether a file is a shard by its name."""
    return name.lower().endswith(SUFFIXES)


def read_samples(
    file: IO[bytes], size: int, wanted: Callable[[str], bool] = lambda field: True
) -> Iterator[Sample]:
    """The samples of a shard, each a field's content by the field's name.

    Args:
        file: the shard, packed or not.
        size: its bytes.
        wanted: whether a field is read; the others are b"".

    Raises:
        ValueError: it is damaged, or was made to harm.
    """
    unpack = _UNPACKERS.get(file.read(2), lambda inner: inner)
    file.seek(0)
    try:
        bounded = cast(IO[bytes], Bounded(unpack(file)))
        with tarfile.open(fileobj=bounded, mode="r:") as archive:
            yield from _samples(archive, size, wanted)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise ValueError(f"it is no tar archive, or is damaged ({error})") from None


def _samples(
    archive: tarfile.TarFile, size: int, wanted: Callable[[str], bool]
) -> Iterator[Sample]:
    key, sample, count, unpacked = None, Sample(), 0, 0
    for member in archive:
        archive.members = []  # type: ignore[attr-defined]  # a record of every file
        count, unpacked = count + 1, unpacked + member.size
        if count > MOST_MEMBERS:
            raise ValueError(f"more than {MOST_MEMBERS} files")
        require_growth(unpacked, size)
        found = _NAME.fullmatch(member.name)
        # Links are never followed; a sparse file claims any size.
        if found is None or not member.isreg() or member.issparse() or is_hidden(member.name):
            continue
        if found[1] != key:
            if sample:
                yield sample
            key, sample = found[1], Sample()
        field = found[2]
        most = LARGEST_PICTURE if is_picture(field) else _LARGEST_TEXT
        if not is_picture(field) and field not in (*TEXTS, *CLASSES, JSON):
            continue
        if member.size > most:
            raise ValueError(f"{member.name} has {member.size} bytes, more than is safe to read")
        content = archive.extractfile(member) if wanted(field) else None
        sample[field] = b"" if content is None else content.read()
    if sample:
        yield sample


def is_picture(field: str) -> bool:
    """Whether the files of a field are pictures."""
    return field.rpartition(".")[2].lower() in PICTURES


@dataclass(frozen=True)
class Layout:
    """Columns of a set of shards.

    Attributes:
        pictures: fields by column; several where one column has pictures of several types.
        texts, classes: fields, each a column.
        captions: keys of the JSON, each a column json.<key>.
    """

    pictures: tuple[tuple[str, tuple[str, ...]], ...]
    texts: tuple[str, ...]
    classes: tuple[str, ...]
    captions: tuple[str, ...]

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> Layout:
        """The layout of samples, of which the JSON of the first ones is looked into.

        Raises:
            ValueError: they hold no pictures, or are not named as WebDataset names them.
        """
        fields: dict[str, None] = {}
        captions: dict[str, None] = {}
        for sample in samples:
            fields |= dict.fromkeys(sample)
            captions |= dict.fromkeys(_captions(sample.get(JSON, b"")))
            if len(fields) > _MOST_COLUMNS:
                raise ValueError("its files are not named as WebDataset names them")
        pictures = [field for field in fields if is_picture(field)]
        if not pictures:
            raise ValueError("it holds no pictures")
        simple = tuple(field for field in pictures if field.lower() in PICTURES)
        columns: list[tuple[str, tuple[str, ...]]] = [(field, (field,)) for field in pictures]
        if len(simple) > 1:
            parts = [(field, (field,)) for field in pictures if field not in simple]
            columns = [(MERGED, simple), *parts]
        return cls(
            tuple(columns),
            tuple(field for field in fields if field in TEXTS),
            tuple(field for field in fields if field in CLASSES),
            tuple(key for key in CAPTIONS_IN_JSON if key in captions),
        )

    def features(self) -> datasets.Features:
        """Types of the columns."""
        import datasets

        text = datasets.Value("string")
        return datasets.Features(
            {
                **{column: datasets.Image() for column, _ in self.pictures},
                **dict.fromkeys(self.texts, text),
                **dict.fromkeys(self.classes, datasets.Value("int64")),
                **{f"{JSON}.{key}": text for key in self.captions},
            }
        )

    def rows(self, samples: Iterable[Sample]) -> Iterator[dict[str, Any]]:
        """The samples that have a picture, by column.

        Raises:
            ArchiveError: a class is no whole number.
        """
        for sample in samples:
            pictures = {
                column: next((sample[field] for field in fields if field in sample), None)
                for column, fields in self.pictures
            }
            if not any(pictures.values()):
                continue
            said = _captions(sample.get(JSON, b""))
            yield {
                **pictures,
                **{field: _text(sample.get(field)) for field in self.texts},
                **{field: _number(field, sample.get(field)) for field in self.classes},
                **{f"{JSON}.{key}": said.get(key) for key in self.captions},
            }


def open_shards(paths: Sequence[Path]) -> datasets.Dataset:
    """The rows of shards, copied into the datasets library's cache as it does itself.

    Raises:
        ArchiveError: one is damaged or was made to harm.
        ValueError: they hold no pictures.
    """
    import datasets

    files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    layout = Layout.of(_looked_through(files))
    state = datasets.fingerprint.Hasher.hash((files, layout))
    opened = datasets.Dataset.from_generator(
        _rows,
        features=layout.features(),
        gen_kwargs={"files": files, "layout": layout},
        fingerprint=state,
    )
    return cast("datasets.Dataset", opened)


def _looked_through(files: Sequence[tuple[str, int, int]]) -> Iterator[Sample]:
    left = _JSON_LOOKED_INTO

    def wanted(field: str) -> bool:
        nonlocal left
        left -= field == JSON
        return field == JSON and left >= 0

    for path, size, _ in files:
        yield from _named(path, size, wanted)


def _rows(files: Sequence[tuple[str, int, int]], layout: Layout) -> Iterator[dict[str, Any]]:
    for path, size, _ in files:
        yield from layout.rows(_named(path, size, lambda field: True))


def _named(path: str, size: int, wanted: Callable[[str], bool]) -> Iterator[Sample]:
    try:
        with open(path, "rb") as file:
            yield from read_samples(file, size, wanted)
    except ValueError as error:
        raise ArchiveError(f"{Path(path).name}: {error}") from None


def _number(field: str, content: bytes | None) -> int | None:
    try:
        return None if content is None else int(content)
    except ValueError:
        raise ArchiveError(f"a file .{field} holds no whole number") from None


def _text(content: bytes | None) -> str | None:
    return None if content is None else content.decode("utf-8", "replace")


def _captions(content: bytes) -> dict[str, str]:
    """The captions in a sample's JSON; {} where it is none."""
    try:
        found = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: found[key] for key in CAPTIONS_IN_JSON if isinstance(found.get(key), str)}
