"""Datasets in every form that needs no network, and their columns."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from memshield.config.file import make_config
from memshield.data.columns import Columns
from memshield.data.images import open_image
from memshield.data.source import Source, SourceSettings, open_source, open_upload
from memshield.errors import UserError
from tests.data import encode, save_set, settings
from tests.refusals import refusal_of
from tests.tiny import Pixels, image_folder, pictures


@pytest.fixture(autouse=True)
def own_datasets_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets-cache"))


@pytest.fixture(scope="module")
def four() -> list[Pixels]:
    return pictures(4)


def open_set(dataset: Path | str, **changes: Any) -> Source:
    return open_source(SourceSettings.of(settings(dataset, **changes)))


def open_folder(folder: Path, **changes: Any) -> Source:
    needed = {"pretrained_model_name_or_path": "a/model", "train_data_dir": str(folder)}
    return open_source(SourceSettings.of(make_config({**needed, **changes})))


refusal = partial(refusal_of, open_set)


def assert_holds(source: Source, expected: Sequence[Pixels]) -> None:
    assert len(source) == len(expected)
    for row, pixels in enumerate(expected):
        assert np.array_equal(np.asarray(open_image(source.picture(row))), pixels)


# Forms


def test_an_upload_is_read_after_what_was_made_of_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passing = tmp_path / "passing"
    passing.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(passing))
    source = open_upload(SourceSettings(train_data_dir=str(image_folder(tmp_path / "set", 4))))
    assert not list(passing.iterdir())
    assert not (tmp_path / "datasets-cache").exists()
    assert source.captions() == [f"picture number {i}" for i in range(4)]
    assert_holds(source, pictures(4))


def test_a_folder_of_pictures_with_captions(tmp_path: Path) -> None:
    source = open_folder(image_folder(tmp_path / "set", 4))
    assert source.columns == Columns("image", "text", None)
    assert source.captions() == [f"picture number {i}" for i in range(4)]
    assert source.labels() is None
    assert_holds(source, pictures(4))


def test_a_folder_of_pictures_without_captions(tmp_path: Path) -> None:
    source = open_folder(image_folder(tmp_path / "set", 4, captions=False))
    assert source.columns == Columns("image", None, None)
    assert source.captions() is None


def test_a_folder_of_pictures_may_be_named_as_dataset_too(tmp_path: Path) -> None:
    assert len(open_set(image_folder(tmp_path / "set", 4))) == 4


def test_folders_in_a_folder_are_classes(tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        image_folder(tmp_path / "set" / name, 2, captions=False)
    source = open_folder(tmp_path / "set")
    assert source.columns == Columns("image", None, "label")
    assert source.labels() == [0, 0, 1, 1]


def test_a_broken_picture_does_not_prevent_opening(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", 4)
    (folder / "0001.png").write_bytes(b"broken")
    source = open_folder(folder)
    assert source.captions() == [f"picture number {i}" for i in range(4)]
    assert np.array_equal(np.asarray(open_image(source.picture(2))), pictures(4)[2])


def test_shapes_are_read_from_headers(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", 9, 16, width=24)
    whole = (folder / "0003.png").read_bytes()
    (folder / "0003.png").write_bytes(whole[: len(whole) // 2])  # its header is there
    (folder / "0006.png").write_bytes(b"broken")
    source = open_folder(folder)
    assert source.some_sizes(100) == [(16, 24)] * 8
    assert source.some_sizes(3) == [(16, 24)] * 2, "rows 0, 3 and 6"


def test_parquet_as_file_and_as_folder(tmp_path: Path, four: list[Pixels]) -> None:
    table = datasets.load_from_disk(str(save_set(tmp_path / "set", four, text=list("abcd"))))
    (tmp_path / "parquet").mkdir()
    table.to_parquet(tmp_path / "parquet" / "part.parquet")
    for place in (tmp_path / "parquet" / "part.parquet", tmp_path / "parquet"):
        source = open_set(place)
        assert source.columns == Columns("image", "text", None)
        assert source.captions() == list("abcd")
        assert_holds(source, four)


def test_parquet_written_by_other_tools(tmp_path: Path, four: list[Pixels]) -> None:
    files = [encode(pixels) for pixels in four]
    tables = {
        "bytes.parquet": {"image": files},
        "struct.parquet": {"image": [{"bytes": file, "path": "a.png"} for file in files]},
    }
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), tmp_path / name)
        assert_holds(open_set(tmp_path / name), four)


def test_a_folder_of_save_to_disk(tmp_path: Path, four: list[Pixels]) -> None:
    source = open_set(save_set(tmp_path / "set", four, text=list("abcd")))
    assert source.captions() == list("abcd")
    assert_holds(source, four)


def test_splits_of_save_to_disk(tmp_path: Path, four: list[Pixels]) -> None:
    table = datasets.load_from_disk(str(save_set(tmp_path / "set", four, text=list("abcd"))))
    splits = {"train": table.select([0, 1, 2]), "validation": table.select([3])}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "splits")
    assert open_set(tmp_path / "splits").captions() == list("abc")
    assert open_set(tmp_path / "splits", dataset_split="validation").captions() == ["d"]
    said = refusal(tmp_path / "splits", dataset_split="test")
    assert said.startswith("dataset_split: ")
    assert "has no split 'test'" in said
    assert "train, validation" in said


@pytest.mark.parametrize("alone", [True, False])
def test_a_part_of_what_save_to_disk_wrote(tmp_path: Path, four: list[Pixels], alone: bool) -> None:
    folder = save_set(tmp_path / "set", four, text=list("abcd"))
    if not alone:
        table = datasets.load_from_disk(str(folder))
        folder = tmp_path / "splits"
        datasets.DatasetDict({"train": table}).save_to_disk(folder)
    assert open_set(folder, dataset_split="train[:75%]").captions() == list("abc")
    assert open_set(folder, dataset_split="train[75%:]").captions() == ["d"]
    assert "Unknown split" in refusal(folder, dataset_split="test[:2]")


def test_splits_of_folders(tmp_path: Path) -> None:
    for name, count in (("train", 3), ("test", 2)):
        image_folder(tmp_path / "set" / name, count)
    assert len(open_set(tmp_path / "set")) == 3
    assert len(open_set(tmp_path / "set", dataset_split="test")) == 2
    said = refusal(tmp_path / "set", dataset_split="val")
    assert "val" in said
    assert "'train'" in said
    assert "'test'" in said


def test_raw_bytes_are_found_whatever_their_column_is_called(
    tmp_path: Path, four: list[Pixels]
) -> None:
    files = [encode(pixels) for pixels in four]
    structs = [{"bytes": file, "path": "a.png"} for file in files]
    for name, column in {"bytes": files, "structs": structs}.items():
        rows = {"id": [1, 2, 3, 4], "content": column, "file_name": ["a.png"] * 4}
        pq.write_table(pa.table(rows), tmp_path / f"{name}.parquet")
        source = open_set(tmp_path / f"{name}.parquet")
        assert source.columns.image == "content"
        assert_holds(source, four)
    pq.write_table(pa.table({"before": files, "after": files}), tmp_path / "two.parquet")
    assert "several columns of pictures" in refusal(tmp_path / "two.parquet")


# What does not exist or cannot be read


@pytest.mark.parametrize("name", ["./missing", "/no/such/folder", "no such name", "a/b/c"])
def test_names_that_are_neither_here_nor_on_the_hub_are_refused(name: str) -> None:
    assert refusal(name).startswith(f"dataset_name: {name!r} is neither a file or folder here")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="train_data_dir: there is no folder"):
        open_folder(tmp_path / "missing")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(UserError, match="train_data_dir: no pictures found"):
        open_folder(tmp_path / "set")


def test_a_split_without_rows_is_refused(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", 2)
    assert "no pictures found" in refusal(folder, dataset_split="train[:0]")


def test_files_that_are_not_parquet_are_refused(tmp_path: Path) -> None:
    (tmp_path / "set.bin").write_bytes(b"")
    said = refusal(tmp_path / "set.bin")
    assert said.startswith("dataset_name: set.bin is not a parquet, zip or tar file")
    (tmp_path / "junk.parquet").write_bytes(b"junk")
    assert "junk.parquet is damaged or not whole" in refusal(tmp_path / "junk.parquet")


def test_broken_metadata_is_refused(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", 2)
    (folder / "metadata.jsonl").write_text('{"file_name": "0000.png", "text": ')
    with pytest.raises(UserError, match=r"train_data_dir: .* is damaged or not whole"):
        open_folder(folder)


# Columns


def test_columns_are_found_by_type_and_by_usual_names(tmp_path: Path, four: list[Pixels]) -> None:
    table = datasets.load_from_disk(
        str(
            save_set(
                tmp_path / "set", four, kind=[0, 1, 0, 1], prompt=list("abcd"), id=list("wxyz")
            )
        )
    )
    table = table.rename_column("image", "photo")
    table = table.cast_column("kind", datasets.ClassLabel(names=["cat", "dog"]))
    table.save_to_disk(tmp_path / "named")
    source = open_set(tmp_path / "named")
    assert source.columns == Columns("photo", "prompt", "kind")
    assert set(source.there) == {"photo", "kind", "prompt", "id"}
    assert source.labels() == [0, 1, 0, 1]


def test_columns_may_be_named(tmp_path: Path, four: list[Pixels]) -> None:
    dataset = save_set(
        tmp_path / "set",
        four,
        text=list("abcd"),
        other=list("efgh"),
        label=[0] * 4,
        kind=[3, 1, 2, 0],
    )
    source = open_set(dataset, image_column="image", caption_column="other", label_column="kind")
    assert source.columns == Columns("image", "other", "kind")
    assert source.captions() == list("efgh")
    assert source.labels() == [3, 1, 2, 0]


@pytest.mark.parametrize("field", ["image_column", "caption_column", "label_column"])
def test_a_missing_column_is_refused_with_those_there_are(
    tmp_path: Path, four: list[Pixels], field: str
) -> None:
    dataset = save_set(tmp_path / "set", four, text=list("abcd"))
    said = refusal(dataset, **{field: "missing"})
    assert said.startswith(f"{field}: there is no column 'missing'")
    assert "image, text" in said


def test_the_column_of_the_pictures_holds_no_captions(tmp_path: Path, four: list[Pixels]) -> None:
    said = refusal(save_set(tmp_path / "set", four), caption_column="image")
    assert said.startswith("caption_column: 'image' is the column of the pictures")


def test_a_column_that_holds_no_pictures_is_refused(tmp_path: Path, four: list[Pixels]) -> None:
    dataset = save_set(tmp_path / "set", four, text=list("abcd"))
    assert "'text' holds no pictures" in refusal(dataset, image_column="text")
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(tmp_path / "none")
    assert "no column of pictures" in refusal(tmp_path / "none")


def two_columns(folder: Path, four: list[Pixels], first: str, second: str) -> Path:
    files = [{"bytes": encode(pixels), "path": None} for pixels in four]
    table = datasets.Dataset.from_dict({first: files, second: files[::-1]})
    for name in (first, second):
        table = table.cast_column(name, datasets.Image())
    table.save_to_disk(folder)
    return folder


def test_one_of_several_picture_columns_must_be_named(tmp_path: Path, four: list[Pixels]) -> None:
    dataset = two_columns(tmp_path / "set", four, "before", "after")
    said = refusal(dataset)
    assert said.startswith("image_column: several columns of pictures")
    assert "before, after" in said
    assert_holds(open_set(dataset, image_column="after"), four[::-1])


def test_of_several_picture_columns_a_usual_name_is_taken(
    tmp_path: Path, four: list[Pixels]
) -> None:
    dataset = two_columns(tmp_path / "set", four, "conditioning", "image")
    assert_holds(open_set(dataset), four[::-1])


WAY_OUT = "Put the picture files into a folder with a metadata.csv (file_name, text) and give it"


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("image", ["https://example.org/a.png"]),
        ("image_url", ["https://example.org/a.png"]),
        ("file_path", ["/data/a.png"]),
        ("image", [{"path": "a.png"}]),
        ("photo", [{"bytes": None, "path": "a.png"}]),
    ],
)
def test_paths_and_addresses_are_refused_with_a_way_out(
    tmp_path: Path, column: str, values: list[Any]
) -> None:
    pq.write_table(pa.table({"text": ["a"], column: values}), tmp_path / "set.parquet")
    said = refusal(tmp_path / "set.parquet")
    assert said.startswith(f"image_column: {column!r} holds no pictures: it holds text (paths or")
    assert WAY_OUT in said
    assert f"dataset.cast_column({column!r}, datasets.Image())" in said


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("https://example.org/a.png", "it is a web address, which is never fetched"),
        ("zip://a.png::https://example.org/a.zip", "it is a web address"),
        ("/etc/hostname", "it is a path out of the dataset, which is not followed"),
    ],
)
def test_pictures_that_are_only_named_are_refused_before_the_scan(
    tmp_path: Path, path: str, reason: str
) -> None:
    kind = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))])
    rows = {"image": [{"bytes": None, "path": path}] * 40}
    pq.write_table(pa.table(rows, schema=kind), tmp_path / "set.parquet")
    said = refusal(tmp_path / "set.parquet")
    assert said.startswith(f"image_column: 'image' holds no pictures: {reason}")
    assert WAY_OUT in said


def test_a_table_of_text_is_refused_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text("path,text\na.png,a\n")
    said = refusal(tmp_path / "set.csv")
    assert said.startswith("dataset_name: set.csv is a table of text")
    assert "metadata.csv" in said and "train_data_dir" in said


# Captions and labels


def test_of_several_captions_the_first_is_taken(tmp_path: Path, four: list[Pixels]) -> None:
    captions = [["a", "b"], [], None, ["c"]]
    assert open_set(save_set(tmp_path / "set", four, caption=captions)).captions() == [
        "a",
        "",
        "",
        "c",
    ]


def test_missing_captions_are_empty(tmp_path: Path, four: list[Pixels]) -> None:
    source = open_set(save_set(tmp_path / "set", four, text=["a", None, "", "b"]))
    assert source.captions() == ["a", "", "", "b"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["dog", "cat", None, "dog"], [1, 0, -1, 1]),
        ([7, None, 0, 7], [7, -1, 0, 7]),
        ([True, False, True, True], [1, 0, 1, 1]),
    ],
)
def test_labels_are_numbered(
    tmp_path: Path, four: list[Pixels], labels: list[Any], expected: list[int]
) -> None:
    assert open_set(save_set(tmp_path / "set", four, label=labels)).labels() == expected


# max_train_samples


def test_a_part_of_the_rows_is_drawn_with_the_seed(tmp_path: Path) -> None:
    dataset = save_set(tmp_path / "set", pictures(20), number=list(range(20)))

    def drawn(seed: int) -> list[int]:
        source = open_set(dataset, max_train_samples=8, seed=seed, label_column="number")
        labels = source.labels()
        assert labels is not None
        assert len(source) == 8
        for row, number in enumerate(labels):
            assert np.array_equal(np.asarray(open_image(source.picture(row))), pictures(20)[number])
        return labels

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert len(set(drawn(1))) == 8


def test_more_samples_than_rows_are_all_rows_in_order(tmp_path: Path) -> None:
    source = open_folder(image_folder(tmp_path / "set", 4), max_train_samples=5)
    assert source.captions() == [f"picture number {i}" for i in range(4)]


def test_metadata_may_name_pictures_in_any_order(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "set", 4)
    lines = [{"file_name": f"{i:04d}.png", "text": f"picture {i}"} for i in (2, 0, 3, 1)]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    source = open_folder(folder)
    captions = source.captions()
    assert captions is not None
    for row, caption in enumerate(captions):
        number = int(caption.split()[1])
        assert np.array_equal(np.asarray(open_image(source.picture(row))), pictures(4)[number])


def test_a_table_cannot_name_pictures_elsewhere(tmp_path: Path, four: list[Pixels]) -> None:
    """A path inside a parquet file may point at somebody else's picture on this machine."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Image.fromarray(four[0]).save(elsewhere / "private.png")
    own = tmp_path / "set"
    own.mkdir()
    Image.fromarray(four[1]).save(own / "own.png")
    paths = [own / "own.png", elsewhere / "private.png", own / ".." / "elsewhere" / "private.png"]
    rows = {"image": [{"bytes": None, "path": str(path)} for path in paths]}
    features = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))])
    pq.write_table(pa.table(rows, schema=features), own / "set.parquet")
    config = make_config(
        {"model_config_name_or_path": "x", "dataset_name": str(own / "set.parquet")}
    )
    stored = open_source(SourceSettings.of(config)).pictures([0, 1, 2])
    assert stored[0] is not None
    for one in stored[1:]:
        with pytest.raises(ValueError, match="path out of the dataset, which is not followed"):
            open_image(one)
