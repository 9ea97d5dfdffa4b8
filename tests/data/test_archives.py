"""Zip files of pictures and WebDataset shards, as the datasets library opens them too."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import stat
import tarfile
import zipfile
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from memshield.data import archives, shards
from memshield.data.columns import Columns
from memshield.data.images import BadImage, open_image
from memshield.data.scan import scan
from memshield.data.source import Source
from tests.data import encode, settings
from tests.data.archived import tar_of, zip_of
from tests.data.test_source import assert_holds, open_folder, open_set
from tests.refusals import refusal_of
from tests.tiny import Pixels, image_folder, pictures

refusal = partial(refusal_of, open_set)


@pytest.fixture(autouse=True)
def own_datasets_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets-cache"))


@pytest.fixture(scope="module")
def four() -> list[Pixels]:
    return pictures(4)


@pytest.fixture(scope="module")
def files(four: list[Pixels]) -> list[bytes]:
    return [encode(pixels) for pixels in four]


def jpeg(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def assert_same_as_the_library(source: Source, form: str, path: Path, column: str) -> None:
    """Row by row the pictures that load_dataset gives."""
    stock = datasets.load_dataset(form, data_files=str(path), split="train")
    assert len(source) == len(stock)
    for row, one in enumerate(stock):
        ours = np.asarray(open_image(source.picture(row)))
        assert np.array_equal(ours, np.asarray(one[column]))


# Zip files


def test_a_zip_of_pictures(tmp_path: Path, files: list[bytes], four: list[Pixels]) -> None:
    path = zip_of(tmp_path / "set.zip", {f"in/{i}.png": file for i, file in enumerate(files)})
    source = open_set(path)
    assert source.columns == Columns("image", None, None)
    assert_holds(source, four)
    assert_same_as_the_library(source, "imagefolder", path, "image")
    # From the archive itself: nothing is unpacked.
    assert not list(tmp_path.rglob("*.png"))


def test_a_zip_in_a_folder(tmp_path: Path, files: list[bytes], four: list[Pixels]) -> None:
    zip_of(tmp_path / "set/pictures.zip", {f"{i}.png": file for i, file in enumerate(files)})
    assert_holds(open_folder(tmp_path / "set"), four)


@pytest.mark.parametrize("folder", ["", "pictures/"])
def test_a_zip_with_captions(
    tmp_path: Path, files: list[bytes], four: list[Pixels], folder: str
) -> None:
    lines = [json.dumps({"file_name": f"{i}.png", "text": f"number {i}"}) for i in (2, 0, 3, 1)]
    named = {f"{folder}{i}.png": file for i, file in enumerate(files)}
    source = open_set(
        zip_of(tmp_path / "set.zip", {**named, f"{folder}metadata.jsonl": "\n".join(lines)})
    )
    assert source.columns == Columns("image", "text", None)
    assert source.captions() == ["number 2", "number 0", "number 3", "number 1"]
    assert_holds(source, [four[i] for i in (2, 0, 3, 1)])


def test_folders_in_a_zip_are_classes(tmp_path: Path, files: list[bytes]) -> None:
    named = {f"{'dogs' if i % 2 else 'cats'}/{i}.png": file for i, file in enumerate(files)}
    source = open_set(zip_of(tmp_path / "set.zip", named))
    assert source.columns == Columns("image", None, "label")
    assert source.labels() == [0, 0, 1, 1]


def test_what_lies_beside_the_pictures_in_a_zip_is_passed_over(
    tmp_path: Path, files: list[bytes], four: list[Pixels]
) -> None:
    named = {f"{i}.png": file for i, file in enumerate(files)}
    other = {"notes.txt": "hello", "__MACOSX/._0.png": "x", ".thumbs/0.png": "x", "._1.png": "x"}
    assert_holds(open_set(zip_of(tmp_path / "set.zip", {**other, **named})), four)


def test_a_whole_scan_reads_a_zip(tmp_path: Path, files: list[bytes]) -> None:
    path = zip_of(tmp_path / "set.zip", {f"{i}.png": file for i, file in enumerate(files)})
    found = scan(settings(path, num_shards=1, train_batch_size=1), open_set(path))
    assert found.bad_rows == []
    assert len(found.examples) == 4


def digest_of_all(path: Path) -> str:
    found = hashlib.sha256()
    for i in range(200):
        found.update(archives.ZipMember(path, f"{i}.png").read())
    return found.hexdigest()


def test_processes_that_share_an_open_zip_read_their_own_pictures(tmp_path: Path) -> None:
    """Workers are forked from a process that has it open, and a file's place is shared then."""
    many = [encode(pixels) for pixels in pictures(200, size=32)]
    path = zip_of(tmp_path / "set.zip", {f"{i}.png": file for i, file in enumerate(many)})
    expected = digest_of_all(path)
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert set(pool.map(digest_of_all, [path] * 8)) == {expected}


def link(archive: zipfile.ZipFile, name: str, to: str) -> None:
    member = zipfile.ZipInfo(name)
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(member, to)


def test_a_zip_reaches_nothing_outside_of_it(tmp_path: Path, files: list[bytes]) -> None:
    private = tmp_path / "private.png"
    private.write_bytes(files[3])
    path = zip_of(tmp_path / "set/set.zip", {"0.png": files[0], "../private.png": files[1]})
    with zipfile.ZipFile(path, "a") as archive:
        link(archive, "linked.png", str(private))
    source = open_set(path)
    reasons = []
    for row in range(1, len(source)):
        with pytest.raises(BadImage) as found:
            open_image(source.picture(row))
        reasons.append(str(found.value))
    assert "it is a link, which is not followed" in reasons
    # Nor does a table reach into a zip file elsewhere.
    elsewhere = zip_of(tmp_path / "elsewhere.zip", {"0.png": files[0]})
    table = {"image": [{"bytes": None, "path": f"zip://0.png::{elsewhere}"}]}
    (tmp_path / "table").mkdir()
    datasets.Dataset.from_dict(table).to_parquet(tmp_path / "table/set.parquet")
    assert "'image' holds no pictures" in refusal(tmp_path / "table/set.parquet")


@pytest.mark.parametrize(
    ("limit", "most", "word"),
    [
        ("MOST_MEMBERS", 3, "more than 3"),
        ("_GROWTH_ALLOWED", 0, "are no pictures"),
        ("LARGEST_TABLE", 10, "too large for a metadata file"),
    ],
)
def test_a_zip_made_to_harm_is_refused_before_it_is_read(
    tmp_path: Path,
    files: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    most: int,
    word: str,
) -> None:
    named = {f"{i}.png": file for i, file in enumerate(files)}
    bomb = {"metadata.csv": "file_name,text\n" + "0.png,no\n" * 100_000}
    monkeypatch.setattr(archives, limit, most)
    said = refusal(zip_of(tmp_path / "set.zip", {**named, **bomb}))
    assert said.startswith("dataset_name: cannot open")
    assert "set.zip: " in said
    assert word in said


def test_a_picture_too_large_in_a_zip_is_not_unpacked(
    tmp_path: Path, files: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zip_of(tmp_path / "set.zip", {"0.png": files[0], "1.png": b"\0" * 10_000})
    monkeypatch.setattr(archives, "LARGEST_PICTURE", 9_999)
    with pytest.raises(ValueError, match="10000 bytes are more than is safe"):
        open_image(open_set(path).picture(1))


def test_a_broken_and_a_locked_zip_are_refused(tmp_path: Path, files: list[bytes]) -> None:
    whole = zip_of(tmp_path / "set.zip", {"0.png": files[0]})
    (tmp_path / "torn.zip").write_bytes(whole.read_bytes()[:-30])
    assert "torn.zip: File is not a zip file" in refusal(tmp_path / "torn.zip")
    # The bit in the list of contents that says so.
    locked = whole.read_bytes().replace(
        b"PK\x01\x02\x14\x03\x14\0\0", b"PK\x01\x02\x14\x03\x14\0\1"
    )
    (tmp_path / "locked.zip").write_bytes(locked)
    assert "locked with a password" in refusal(tmp_path / "locked.zip")


def test_a_broken_table_in_a_zip_is_refused_without_its_captions(
    tmp_path: Path, files: list[bytes]
) -> None:
    lines = "file_name,text\n" + "0.png,1\n" * 10_000 + "0.png,a secret\n"
    said = refusal(zip_of(tmp_path / "set.zip", {"0.png": files[0], "metadata.csv": lines}))
    assert said.startswith("dataset_name: cannot open")
    assert "secret" not in said


def test_a_single_file_is_no_folder(tmp_path: Path, files: list[bytes]) -> None:
    path = zip_of(tmp_path / "set.zip", {"0.png": files[0]})
    said = refusal_of(open_folder, path)
    assert said.startswith("train_data_dir: there is no folder")
    assert "dataset_name" in said


# Shards


@pytest.mark.parametrize("name", ["set.tar", "set.tar.gz", "set.tgz"])
def test_a_shard_of_pictures_and_captions(tmp_path: Path, four: list[Pixels], name: str) -> None:
    named: dict[str, bytes | str] = {}
    for i, pixels in enumerate(four):
        named |= {f"{i:04}.jpg": jpeg(pixels), f"{i:04}.txt": f"number {i}"}
    path = tar_of(tmp_path / name, named)
    source = open_set(path)
    assert source.columns == Columns("jpg", "txt", None)
    assert source.captions() == [f"number {i}" for i in range(4)]
    if not name.endswith("tgz"):  # which it does not know
        assert_same_as_the_library(source, "webdataset", path, "jpg")


def test_captions_in_json_and_classes(tmp_path: Path, files: list[bytes]) -> None:
    named: dict[str, bytes | str] = {}
    for i, file in enumerate(files):
        record = {"caption": f"number {i}", "exif": None if i < 2 else "x", "width": 16}
        named |= {f"{i}.png": file, f"{i}.json": json.dumps(record), f"{i}.cls": str(i % 2)}
    source = open_set(tar_of(tmp_path / "set.tar", named))
    assert source.columns == Columns("png", "json.caption", "cls")
    assert source.captions() == [f"number {i}" for i in range(4)]
    assert source.labels() == [0, 1, 0, 1]


def test_a_tar_of_pictures_of_several_types(tmp_path: Path, four: list[Pixels]) -> None:
    named: dict[str, bytes | str] = {
        "all/0.png": encode(four[0]),
        "all/1.jpg": jpeg(four[1]),
        "README.md": "hello",
        "all/2.PNG": encode(four[2]),
        "all/._2.PNG": "x",
    }
    source = open_set(tar_of(tmp_path / "set.tar", named))
    assert source.columns.image == "image"
    assert [open_image(source.picture(row)).format for row in range(3)] == ["PNG", "JPEG", "PNG"]


def test_shards_in_a_folder_with_splits(tmp_path: Path, files: list[bytes]) -> None:
    for i, name in enumerate(("train-0", "train-1", "test-0")):
        tar_of(tmp_path / f"set/{name}.tar", {"0.png": files[i], "0.txt": name})
    (tmp_path / "set/README.md").write_text("shards")
    assert open_folder(tmp_path / "set").captions() == ["train-0", "train-1"]
    assert open_folder(tmp_path / "set", dataset_split="test").captions() == ["test-0"]
    some = open_folder(tmp_path / "set", dataset_split="test+train[1:]")
    assert some.captions() == ["test-0", "train-1"]
    said = refusal_of(open_folder, tmp_path / "set", dataset_split="val")
    assert said.startswith("dataset_split: ")
    assert "test, train" in said or "train, test" in said


def test_pictures_in_the_open_go_before_a_shard(tmp_path: Path, files: list[bytes]) -> None:
    folder = image_folder(tmp_path / "set", 3)
    tar_of(folder / "backup.tar", {"0.png": files[0]})
    assert len(open_folder(folder)) == 3


def test_a_changed_shard_is_read_again(tmp_path: Path, files: list[bytes]) -> None:
    path = tmp_path / "set.tar"
    open_set(tar_of(path, {"0.png": files[0], "0.txt": "old"}))
    assert open_set(tar_of(path, {"0.png": files[0], "0.txt": "newer"})).captions() == ["newer"]


def test_a_shard_follows_no_links_and_runs_nothing(tmp_path: Path, files: list[bytes]) -> None:
    private = tmp_path / "private.png"
    for name in ("private.png", "target.png"):
        private.with_name(name).write_bytes(files[3])
    path = tar_of(tmp_path / "set.tar", {"0.png": files[0], "0.pth": "x", "0.pickle": "x"})
    with tarfile.open(path, "a") as archive:
        for kind, name in ((tarfile.SYMTYPE, "1.png"), (tarfile.LNKTYPE, "2.png")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, str(private.with_name("target.png"))
            archive.addfile(member)
        member = tarfile.TarInfo(str(private))  # an absolute name is only a name
        member.size = len(files[1])
        archive.addfile(member, io.BytesIO(files[1]))
    source = open_set(path)
    assert len(source) == 2
    assert np.array_equal(np.asarray(open_image(source.picture(1))), pictures(4)[1])
    assert source.there == ("png",)


@pytest.mark.parametrize(
    ("module", "limit", "most", "word"),
    [
        (shards, "MOST_MEMBERS", 3, "more than 3 files"),
        (archives, "_GROWTH_ALLOWED", 0, "are no pictures"),
        (shards, "LARGEST_PICTURE", 100, "more than is safe to read"),
        (archives, "MOST_AT_ONCE", 100, "read at once"),
    ],
)
def test_a_shard_made_to_harm_is_refused(
    tmp_path: Path,
    files: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
    module: object,
    limit: str,
    most: int,
    word: str,
) -> None:
    named: dict[str, bytes | str] = {f"{i}.png": file for i, file in enumerate(files)}
    path = tar_of(tmp_path / "set.tgz", {**named, "0.bin": b"\0" * 1_000_000})
    monkeypatch.setattr(module, limit, most)
    said = refusal(path)
    assert said.startswith("dataset_name: cannot open")
    assert "set.tgz: " in said
    assert word in said


def test_tars_without_pictures_or_broken_are_refused(tmp_path: Path, files: list[bytes]) -> None:
    assert "it holds no pictures" in refusal(tar_of(tmp_path / "words.tar", {"0.txt": "a"}))
    (tmp_path / "junk.tar").write_bytes(b"junk" * 1000)
    assert "junk.tar: it is no tar archive, or is damaged" in refusal(tmp_path / "junk.tar")
    named: dict[str, bytes | str] = {f"a.v{i}.png": files[0] for i in range(40)}
    assert "not named as WebDataset" in refusal(tar_of(tmp_path / "dotted.tar", named))
    named = {"0.png": files[0], "0.cls": "cat", "0.txt": "a secret"}
    assert "a file .cls holds no whole number" in refusal(tar_of(tmp_path / "classes.tar", named))
