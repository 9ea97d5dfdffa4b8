"""Folders and files of this machine as people name and write them."""

from __future__ import annotations

from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data import encode, save_set
from tests.data.archived import tar_of, zip_of
from tests.data.test_source import assert_holds, open_folder, open_set
from tests.refusals import refusal_of
from tests.tiny import image_folder, pictures


@pytest.fixture(autouse=True)
def own_datasets_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets-cache"))


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    for name in ("bus", "car", "train"):
        image_folder(tmp_path / "set" / name, 2, captions=False)
    source = open_folder(tmp_path / "set")
    assert source.labels() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("name", ["steam train 1.png", "beach test 2.png"])
@pytest.mark.parametrize("captions", [False, True])
def test_a_picture_whose_name_has_a_word_for_a_split_is_one_of_all(
    tmp_path: Path, name: str, captions: bool
) -> None:
    folder = image_folder(tmp_path / "set", 4, captions=captions)
    (folder / "0000.png").rename(folder / name)
    table = folder / "metadata.jsonl"
    if captions:
        table.write_text(table.read_text().replace("0000.png", name))
    source = open_folder(folder)
    assert len(source) == 4
    assert source.captions() == ([f"picture number {i}" for i in range(4)] if captions else None)


def test_what_was_put_aside_is_not_trained_on_for_a_stray_picture(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", 1, captions=False)
    for split, count in (("train", 3), ("test", 2)):
        image_folder(folder / split, count, captions=False)
    assert len(open_folder(folder)) == 3
    assert len(open_folder(folder, dataset_split="test")) == 2


@pytest.mark.parametrize("name", ["pictures [2023]", "what?", "all*"])
def test_names_are_no_patterns(tmp_path: Path, name: str) -> None:
    four = pictures(4)
    assert_holds(open_folder(image_folder(tmp_path / name, 4)), four)
    for split in ("train", "test"):
        image_folder(tmp_path / "splits" / name / split, 2, captions=False)
    assert len(open_folder(tmp_path / "splits" / name)) == 2
    files = [encode(pixels) for pixels in four]
    (tmp_path / "tables" / name).mkdir(parents=True)
    table = tmp_path / "tables" / name / "a.parquet"
    pq.write_table(pa.table({"content": files}), table)
    assert_holds(open_set(table), four)
    assert_holds(open_set(table.parent), four)
    named = {f"{number}.png": file for number, file in enumerate(files)}
    assert_holds(open_set(zip_of(tmp_path / f"{name}.zip", named)), four)
    assert_holds(open_set(tar_of(tmp_path / f"{name}.tar", named)), four)
    saved = datasets.load_from_disk(str(save_set(tmp_path / "saved", four)))
    saved.save_to_disk(tmp_path / name / "saved")
    assert_holds(open_set(tmp_path / name / "saved"), four)


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ("file_name;text\n0000.png;an egg\n", "`file_name`"),
        ("file_name,text\n0000.png,B\xe4r\n", "'utf-8' codec"),
        ("file_name,text\n0000.png,a\n0001.png,b,c\n", "Expected 2 fields"),
        ("", "No columns"),
    ],
)
def test_a_table_of_captions_that_cannot_be_read_is_told_with_what_it_should_be(
    tmp_path: Path, table: str, why: str
) -> None:
    folder = image_folder(tmp_path / "set", 2, captions=False)
    (folder / "metadata.csv").write_bytes(table.encode("latin-1"))
    said = refusal_of(open_folder, folder)
    assert said.startswith("train_data_dir: the table of captions in")
    assert why in said
    assert "metadata.csv with commas" in said
    assert "dataset_split" not in said


@pytest.mark.parametrize("split", ["train[:10", "train[:200%]", "train+", "train[:99]x"])
def test_a_split_that_is_written_wrongly_is_told_as_such(tmp_path: Path, split: str) -> None:
    folder = image_folder(tmp_path / "set", 2)
    said = refusal_of(open_folder, folder, dataset_split=split)
    assert said.startswith(f"dataset_split: {split!r} names no split")
