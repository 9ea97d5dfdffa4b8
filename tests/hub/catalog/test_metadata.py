"""Metadata files of picture folders, against the datasets library where it reads them too."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memshield.hub.catalog import metadata
from memshield.hub.catalog.archives import NamedFiles
from memshield.hub.catalog.metadata import read_metadata
from memshield.hub.catalog.remote import RemoteFiles
from tests.tiny import image_folder

LINES = [
    {"file_name": "0000.png", "text": "a cat, sitting", "score": 1.5},
    {"file_name": "0002.png", "text": "two\nlines", "score": 2.0},
]


class Local(NamedFiles):
    """Files of a folder in place of the Hub's."""

    def __init__(self, folder: Path) -> None:
        super().__init__(RemoteFiles("a/b", "0" * 40, {}, token=False))
        self.folder = folder

    def size(self, name: str) -> int | None:
        return (self.folder / name).stat().st_size

    def read(self, name: str, most: int) -> bytes:
        return (self.folder / name).read_bytes()[:most]


def write(folder: Path, name: str) -> Path:
    path = folder / name
    if name.endswith(".csv"):
        path.write_text('file_name,text,score\n0000.png,"a cat, sitting",1.5\n'
                        '0002.png,"two\nlines",2.0\n')  # fmt: skip
    elif name.endswith(".jsonl"):
        path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    else:
        pq.write_table(pa.Table.from_pylist(LINES), path)
    return folder


@pytest.mark.parametrize("name", metadata.METADATA)
def test_as_the_library_reads_it(tmp_path: Path, name: str) -> None:
    folder = write(image_folder(tmp_path / "set", 3, captions=False), name)
    rows = datasets.load_dataset("imagefolder", data_dir=str(folder), split="train")
    found = read_metadata(Local(folder), name)
    assert list(found.features()) == rows.column_names
    assert found.whole
    lines = list(found.rows("image", 8))
    assert [file for file, _ in lines] == ["0000.png", "0002.png"]
    assert [values["text"] for _, values in lines] == list(rows["text"])


def test_only_the_beginning_of_a_large_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "READ_WHOLE", 10)
    monkeypatch.setattr(metadata, "_HEAD", 90)
    found = read_metadata(Local(write(tmp_path, "metadata.jsonl")), "metadata.jsonl")
    assert not found.whole
    assert [file for file, _ in found.rows("image", 8)] == ["0000.png"]


def test_a_column_for_every_file(tmp_path: Path) -> None:
    line = {"left_file_name": "a.png", "file_name": "b.png", "n": None}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(line) + "\n")
    found = read_metadata(Local(tmp_path), "metadata.jsonl")
    assert list(found.features()) == ["left", "image", "n"]
    assert [file for file, _ in found.rows("left", 1)] == ["a.png"]
    with pytest.raises(ValueError, match="no column for right"):
        list(found.rows("right", 1))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.jsonl", '{"text": "names no file"}\n'),
        ("metadata.jsonl", "not JSON\n"),
        ("metadata.jsonl", ""),
        ("metadata.csv", "file_name,text\na,b,c\n"),
        ("metadata.csv", ""),
        ("metadata.parquet", "PAR1"),
    ],
)
def test_what_is_broken(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match="metadata"):
        read_metadata(Local(tmp_path), name)
