"""Uploads, most of them hostile."""

from __future__ import annotations

import io
import json
import os
import stat
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from memshield.config.file import make_config
from memshield.data.source import Source, SourceSettings, open_source
from memshield.errors import UserError
from memshield.ui.new.uploads.files import from_files
from memshield.ui.new.uploads.store import UploadLimits, accept_upload, find_upload
from tests.ui.repos import picture


def png(seed: int = 0, size: int = 8) -> bytes:
    file = io.BytesIO()
    picture(seed, size).save(file, "PNG")
    return file.getvalue()


def loose(folder: Path, files: Mapping[str, bytes | str]) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return [folder / name for name in files]


def packed(path: Path, entries: Mapping[str, bytes | str], **info: Any) -> list[Path]:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            for key, value in info.items():
                setattr(entry, key, value)
            archive.writestr(entry, content)
    return [path]


def opened(folder: Path) -> Source:
    config = {"train_data_dir": str(folder), "pretrained_model_name_or_path": "a/b"}
    return open_source(SourceSettings.of(make_config(config)), token=False)


def refused(root: Path, files: list[Path], limits: UploadLimits | None = None) -> str:
    """Why it is; nothing of it may be left."""
    with pytest.raises(UserError) as caught:
        accept_upload(files, root / "data" / "ada", limits)
    errors = getattr(caught.value, "errors", [caught.value])
    assert all(error.field == "folder" for error in errors)
    assert [file for file in (root / "data").rglob("*") if file.is_file()] == []
    return str(caught.value)


def test_loose_pictures_with_captions(tmp_path: Path) -> None:
    files = loose(
        tmp_path / "in",
        {
            "my cat.PNG": png(1),
            "test-2.jpg": png(2),
            "metadata.csv": 'file_name,text\r\ntest-2.jpg,"a, b"\r\n./my cat.PNG,größer\r\n',
        },
    )
    folder = accept_upload(files, tmp_path / "ada")
    source = opened(folder)
    assert len(source) == 2
    assert sorted(source.captions() or ()) == ["a, b", "größer"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder.parent == tmp_path / "ada"
    assert all(file.exists() for file in files), "the page deletes its own temporary files"


def test_names_that_look_like_splits_lose_no_picture(tmp_path: Path) -> None:
    files = loose(tmp_path / "in", {f"{name}_1.png": png(i) for i, name in enumerate(
        ("train", "test", "validation", "dev", "other"))})  # fmt: skip
    assert len(opened(accept_upload(files, tmp_path / "ada"))) == 5


def test_a_zip_with_classes_and_clutter(tmp_path: Path) -> None:
    names = {f"set/{kind}/{i}.png": png(i) for kind in ("cat", "dog") for i in range(2)}
    clutter = {"__MACOSX/set/._1.png": b"x", "set/.DS_Store": b"x", "set/cat/Thumbs.db": b"x"}
    file = packed(tmp_path / "a.zip", {"set/": b"", **names, **clutter})
    source = opened(accept_upload(file, tmp_path / "ada"))
    assert (len(source), source.columns.label) == (4, "label")
    assert source.labels() == [0, 0, 1, 1]


def test_a_zip_with_captions(tmp_path: Path) -> None:
    lines = [json.dumps({"file_name": f"{i}.png", "text": f"t{i}", "n": i}) for i in range(3)]
    entries = {f"x/{i}.png": png(i) for i in range(3)}
    file = packed(tmp_path / "a.zip", {**entries, "x/metadata.jsonl": "\n".join(lines)})
    assert opened(accept_upload(file, tmp_path / "ada")).captions() == ["t0", "t1", "t2"]


def test_uploads_are_their_owners(tmp_path: Path) -> None:
    files = loose(tmp_path / "in", {"a.png": png()})
    folder = accept_upload(files, tmp_path / "ada")
    assert find_upload(tmp_path / "ada", folder.name) == folder
    for owner, name in (
        ("eve", folder.name), ("ada", "../" + folder.name), ("ada", "."), ("ada", ""),
        ("ada", f"../{folder.parent.name}/{folder.name}"), ("ada", folder.name + "\n"),
    ):  # fmt: skip
        with pytest.raises(UserError, match="not here any more"):
            find_upload(tmp_path / owner, name)


@pytest.mark.parametrize(
    "name",
    [
        "../a.png", "x/../../a.png", "/etc/a.png", "//a.png", "C:/a.png", "..\\a.png", ".a.png",
        "x/.hidden/a.png", "a\x1b[2J.png", "a\n.png", "x//a.png", "a" * 300 + ".png",
        "a/b/c/d/e/f.png", "./a.png", " a.png", "a.png/b.png", "x./a.png", "a\u202egnp.png",
    ],
)  # fmt: skip
def test_paths_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    words = refused(tmp_path, packed(tmp_path / "a.zip", {"good.png": png(), name: png(1)}))
    assert "is not a usable name" in words or "is not a picture" in words
    assert "\x1b" not in words
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "data"]


def test_links_devices_secrets_and_odd_packing(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    link = packed(path, {"a.png": "/etc/passwd"}, external_attr=(stat.S_IFLNK | 0o777) << 16)
    assert "'a.png' is a link" in refused(tmp_path, link)
    device = packed(path, {"a.png": ""}, external_attr=stat.S_IFCHR << 16)
    assert "is a link or a device" in refused(tmp_path, device)
    packed(path, {"a.png": png()})
    content = bytearray(path.read_bytes())
    content[content.rfind(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    assert "is encrypted" in refused(tmp_path, [path])
    assert "unusual way" in refused(
        tmp_path, packed(path, {"a.png": png()}, compress_type=zipfile.ZIP_LZMA)
    )


def test_bombs(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    assert "far more than its size" in refused(tmp_path, packed(path, {"a.png": bytes(2**24)}))
    many = {f"{i}.png": b"" for i in range(100)}
    assert "files are too many" in refused(tmp_path, packed(path, many), UploadLimits(pictures=10))
    large = packed(path, {"a.png": os.urandom(2**21), "b.png": png()})
    assert "a.png is larger than 1 MiB" in refused(tmp_path, large, UploadLimits(file_bytes=2**20))
    assert "room for 1 MB" in refused(tmp_path, large, UploadLimits(bytes=10**6))
    # A list of entries larger than any is told of in the record at the end.
    packed(path, {"a.png": png()})
    content = bytearray(path.read_bytes())
    end = content.rfind(b"PK\x05\x06")
    content[end + 12 : end + 16] = (2**31).to_bytes(4, "little")
    path.write_bytes(content)
    assert "holds too much" in refused(tmp_path, [path])
    locator = b"PK\x06\x07" + bytes(16)
    path.write_bytes(bytes(content[:end]) + locator + bytes(content[end:]))
    assert "holds too much" in refused(tmp_path, [path])
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "PNG")
    assert "pixels" in refused(tmp_path, loose(tmp_path / "in", {"a.png": file.getvalue()}))


def test_sizes_that_lie(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    packed(path, {"a.png": png(size=64)})
    content = bytearray(path.read_bytes())
    entry = content.rfind(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = (10).to_bytes(4, "little")
    path.write_bytes(content)
    assert "a.png is damaged" in refused(tmp_path, [path])


def test_what_is_no_zip(tmp_path: Path) -> None:
    for content in (b"", b"PK", b"PK\x05\x06", b"PK\x05\x06" + bytes(18), os.urandom(5000)):
        words = refused(tmp_path, loose(tmp_path / "in", {"a.zip": content}))
        assert "is not a zip" in words or "no pictures in the upload" in words
    good = packed(tmp_path / "b.zip", {"a.png": png()})[0]
    for length in (10, 60, good.stat().st_size - 10):
        torn = loose(tmp_path / "in", {"c.zip": good.read_bytes()[:length]})
        assert "is not a zip" in refused(tmp_path, torn)
    flipped = bytearray(good.read_bytes())
    flipped[45] ^= 0xFF
    words = refused(tmp_path, loose(tmp_path / "in", {"d.zip": bytes(flipped)}))
    assert "damaged" in words


def test_what_is_no_picture_is_named_all_at_once(tmp_path: Path) -> None:
    files = loose(
        tmp_path / "in",
        {
            "good.png": png(),
            "cut.png": png(size=64)[:200],
            "script.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            "notes.txt": b"hello",
            "page.html": b"<script>",
            "picture.svg": b"<svg/>",
        },
    )
    words = refused(tmp_path, files)
    for name in ("cut.png", "script.png", "notes.txt", "page.html", "picture.svg"):
        assert name in words
    assert "good.png" not in words
    assert "there are no pictures" in refused(tmp_path, loose(tmp_path / "in", {
        "metadata.csv": "file_name\n"}))  # fmt: skip
    assert "no files" in refused(tmp_path, [])


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("metadata.csv", "text\na\n", "line 2: there is no file_name"),
        ("metadata.csv", "", "is empty"),
        ("metadata.csv", "file_name,text\n../../etc/passwd,x\n", "is not among the pictures"),
        ("metadata.csv", "file_name,text\n/etc/passwd,x\n", "is not among the pictures"),
        ("metadata.csv", "file_name,text\na.png\n", "differs in its number of columns"),
        ("metadata.csv", "file_name,text\na.png,b,c\n", "differs in its number of columns"),
        ("metadata.csv", 'file_name,text\na.png,"b\n', "line"),
        ("metadata.csv", "file_name,mask_file_name\na.png,/etc/passwd\n", "names other files"),
        ("metadata.csv", "file_name,text\na.png,x\na.png,y\n", "occurs twice"),
        ("metadata.csv", b"\xff\xfe\x00", "is not UTF-8"),
        ("metadata.jsonl", "{", "line 1: is not a JSON object"),
        ("metadata.jsonl", "[1]", "line 1: is not a JSON object"),
        ("metadata.jsonl", "[" * 100_000, "line 1: is not a JSON object"),
        ("metadata.jsonl", '{"file_name": "a.png", "text": NaN}', "is not a JSON object"),
        ("metadata.jsonl", '{"file_name": "a.png", "text": "\\ud800"}', "is not a JSON object"),
        ("metadata.jsonl", '{"file_name": "a.png", "text": ["a"]}', "or holds lists"),
        ("metadata.jsonl", '{"file_name": 7}', "there is no file_name"),
        ("metadata.jsonl", '{"file_name": "a.png", "file_names": "b"}', "names other files"),
    ],
)
def test_captions_that_are_wrong(
    tmp_path: Path, name: str, content: str | bytes, words: str
) -> None:
    said = refused(tmp_path, loose(tmp_path / "in", {"a.png": png(), name: content}))
    assert words in said and name in said


def test_only_one_of_each_kind(tmp_path: Path) -> None:
    both: dict[str, bytes | str] = {
        "a.png": png(),
        "metadata.csv": "file_name\na.png\n",
        "metadata.jsonl": "{}",
    }
    assert "there are both" in refused(tmp_path, loose(tmp_path / "in", both))
    archive = packed(tmp_path / "in" / "a.zip", {"a.png": png()})
    mixed = [*archive, *loose(tmp_path / "in", {"b.png": png()})]
    assert "not the only file" in refused(tmp_path, mixed)
    twice = [*loose(tmp_path / "in", {"b.png": png()}), *loose(tmp_path / "more", {"b.png": png()})]
    assert "b.png occurs twice" in refused(tmp_path, twice)
    link = tmp_path / "in" / "link.png"
    link.symlink_to("/etc/passwd")
    assert "link.png is not a file" in refused(tmp_path, [link])


def test_limits(tmp_path: Path) -> None:
    files = loose(tmp_path / "in", {f"{i}.png": png(i, 64) for i in range(4)})
    assert "more than 3 pictures" in refused(tmp_path, files, UploadLimits(pictures=3))
    assert "take too long" in refused(tmp_path, files, UploadLimits(seconds=-1))
    total = sum(file.stat().st_size for file in files)
    room = UploadLimits(owner_bytes=total + 10)
    accept_upload(files, tmp_path / "ada", room)
    with pytest.raises(UserError, match="room for"):
        accept_upload(files, tmp_path / "ada", room)
    accept_upload(files, tmp_path / "eve", room)


def test_what_a_killed_server_left_goes(tmp_path: Path) -> None:
    files = loose(tmp_path / "in", {"a.png": png()})
    home = accept_upload(files, tmp_path / "ada").parent
    old, new = home / ".old.tmp", home / ".new.tmp"
    for left in (old, new):
        left.mkdir()
    os.utime(old, (time.time() - 7200,) * 2)
    accept_upload(files, tmp_path / "ada")
    assert (old.exists(), new.exists()) == (False, True)


def test_a_file_that_is_gone_is_asked_for_again(tmp_path: Path) -> None:
    """Two people who upload the very same file share it until the first of them is answered."""
    files = loose(tmp_path / "in", {"a.png": png(1), "b.png": png(2)})
    incoming = from_files(files, 10, 10_000)
    files[1].unlink()
    with pytest.raises(UserError, match=r"b\.png is not here any more"):
        incoming.read("b.png", 10_000)
    (archive,) = packed(tmp_path / "a.zip", {"a.png": png(1)})
    archive.unlink()
    assert "a.zip is not here any more" in refused(tmp_path, [archive])
