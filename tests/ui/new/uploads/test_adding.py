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
from memshield.rundir import bytes_in
from memshield.ui.new.uploads.adding import Added, UploadLimits, add_files
from memshield.ui.new.uploads.tray import Tray
from tests.ui.repos import picture


def png(seed: int = 0, size: int = 8) -> bytes:
    file = io.BytesIO()
    picture(seed, size).save(file, "PNG")
    return file.getvalue()


def jpeg(size: int) -> bytes:
    file = io.BytesIO()
    picture(0, size).save(file, "JPEG")
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


def tray(root: Path) -> Tray:
    return Tray(root / "ada")


def added(root: Path, files: list[Path], limits: UploadLimits | None = None) -> Added:
    return add_files(files, root / "ada", limits)


def names(root: Path) -> list[str]:
    return [one.name for one in tray(root).pictures()]


def refused(root: Path, files: list[Path], limits: UploadLimits | None = None) -> str:
    """Why each of the files is left out; a good one among them is not."""
    before = {one.id for one in tray(root).pictures()}
    found = added(root, files, limits)
    new = [one for one in tray(root).pictures() if one.id not in before]
    assert {one.name for one in new} <= {"good.png"}
    kept = [path for path in (root / "ada").rglob("*") if path.is_file()]
    assert [path for path in kept if ".tmp" in str(path)] == []
    return "; ".join(found.left_out)


def test_loose_pictures_with_captions(tmp_path: Path) -> None:
    files = loose(
        tmp_path / "in",
        {
            "my cat.PNG": png(1),
            "test-2.jpg": png(2),
            "metadata.csv": 'file_name,text\r\ntest-2.jpg,"a, b"\r\n./my cat.PNG,größer\r\n',
        },
    )
    assert added(tmp_path, files) == Added(2, 0, 2, ())
    source = opened(tray(tmp_path).for_plan())
    assert len(source) == 2
    assert sorted(source.captions() or ()) == ["a, b", "größer"]
    assert stat.S_IMODE(tray(tmp_path).for_plan().stat().st_mode) == 0o700
    assert all(file.exists() for file in files), "the page deletes its own temporary files"


def test_files_add_up(tmp_path: Path) -> None:
    added(tmp_path, loose(tmp_path / "in", {"a.png": png(1), "b.png": png(2)}))
    again = loose(tmp_path / "more", {"b.png": png(2), "c.png": png(3)})
    assert added(tmp_path, again) == Added(1, 1, 0, ())
    # Another picture of the same name is another picture.
    assert added(tmp_path, loose(tmp_path / "other", {"a.png": png(4)})).added == 1
    assert names(tmp_path) == ["a.png", "b.png", "c.png", "a.png"]
    assert len(opened(tray(tmp_path).for_plan())) == 4


def test_captions_that_come_later(tmp_path: Path) -> None:
    entries: dict[str, bytes | str] = {
        "set/a.png": png(1),
        "set/b.png": png(2),
        "set/b.txt": "from a file\n",
    }
    assert added(tmp_path, packed(tmp_path / "a.zip", entries)).captioned == 1
    lines = [
        json.dumps({"file_name": name, "prompt": f"of {name}", "weight": 1})
        for name in ("a.png", "c.png", "d.png")
    ]
    later: dict[str, bytes | str] = {
        "metadata.jsonl": "\n".join(lines),
        "c.png": png(3),
        "b.txt": "again",
        "e.txt": "x",
    }
    found = added(tmp_path, loose(tmp_path / "in", later))
    assert (found.added, found.captioned) == (1, 3)
    assert found.left_out == (
        "e.txt is not a picture, and no picture is called e",
        "metadata.jsonl describes 'd.png', which is not here",
    )
    assert opened(tray(tmp_path).for_plan()).captions() == ["of a.png", "again", "of c.png"]


def test_a_file_describes_the_pictures_that_came_with_it_first(tmp_path: Path) -> None:
    loose_one = loose(tmp_path / "in", {"1.png": png(0), "1.txt": "loose"})
    zips = [
        *packed(tmp_path / "a.zip", {"1.png": png(1), "metadata.csv": "file_name,text\n1.png,a"}),
        *packed(tmp_path / "b.zip", {"1.png": png(2), "metadata.csv": "file_name,text\n1.png,b"}),
    ]
    assert added(tmp_path, [*zips, *loose_one]).captioned == 3
    assert [one.caption for one in tray(tmp_path).pictures()] == ["loose", "a", "b"]


def test_names_that_look_like_splits_lose_no_picture(tmp_path: Path) -> None:
    files = loose(tmp_path / "in", {f"{name}_1.png": png(i) for i, name in enumerate(
        ("train", "test", "validation", "dev", "other"))})  # fmt: skip
    added(tmp_path, files)
    assert len(opened(tray(tmp_path).for_plan())) == 5


def test_a_zip_with_classes_and_clutter(tmp_path: Path) -> None:
    names = {f"set/{kind}/{i}.png": png(i) for kind in ("cat", "dog") for i in range(2)}
    clutter = {"__MACOSX/set/._1.png": b"x", "set/.DS_Store": b"x", "set/cat/Thumbs.db": b"x"}
    file = packed(tmp_path / "a.zip", {"set/": b"", **names, **clutter})
    assert added(tmp_path, file) == Added(4, 0, 0, ())
    source = opened(tray(tmp_path).for_plan())
    assert (len(source), source.columns.label) == (4, "label")
    assert source.labels() == [0, 0, 1, 1] and source.captions() is None
    # Captions do not cost the classes.
    tray(tmp_path).describe({tray(tmp_path).pictures()[0].id: "a cat"})
    source = opened(tray(tmp_path).for_plan())
    assert source.labels() == [0, 0, 1, 1]
    assert source.captions() == ["a cat", "", "", ""]


def test_a_zip_with_captions(tmp_path: Path) -> None:
    lines = [json.dumps({"file_name": f"{i}.png", "text": f"t{i}", "n": i}) for i in range(3)]
    entries = {f"x/{i}.png": png(i) for i in range(3)}
    added(tmp_path, packed(tmp_path / "a.zip", {**entries, "x/metadata.jsonl": "\n".join(lines)}))
    assert opened(tray(tmp_path).for_plan()).captions() == ["t0", "t1", "t2"]


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
    assert names(tmp_path) == ["good.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "ada"]


def test_links_devices_secrets_and_odd_packing(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    link = packed(path, {"a.png": "/etc/passwd"}, external_attr=(stat.S_IFLNK | 0o777) << 16)
    assert "a.png is a link" in refused(tmp_path, link)
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
    assert "100 files, which are too many" in refused(
        tmp_path, packed(path, many), UploadLimits(pictures=10)
    )
    large = packed(path, {"a.png": os.urandom(2**21), "good.png": png()})
    assert "a.png is larger than 1 MiB" in refused(tmp_path, large, UploadLimits(file_bytes=2**20))
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
        assert "is not a zip" in words or (len(content) == 22 and words == "")
    good = packed(tmp_path / "b.zip", {"a.png": png()})[0]
    for length in (10, 60, good.stat().st_size - 10):
        torn = loose(tmp_path / "in", {"c.zip": good.read_bytes()[:length]})
        assert "is not a zip" in refused(tmp_path, torn)
    flipped = bytearray(good.read_bytes())
    flipped[45] ^= 0xFF
    words = refused(tmp_path, loose(tmp_path / "in", {"d.zip": bytes(flipped)}))
    assert "damaged" in words


def test_what_is_no_picture_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    files = loose(
        tmp_path / "in",
        {
            "good.png": png(),
            "cut.png": png(size=64)[:200],
            "cut.jpg": jpeg(64)[:700],
            "empty.png": b"",
            "script.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            "notes.txt": b"hello",
            "page.html": b"<script>",
            "phone.heic": b"x",
        },
    )
    assert set(refused(tmp_path, files).split("; ")) == {
        "cut.png is cut off",
        "cut.jpg is cut off",
        "empty.png is empty",
        "script.png is not a picture",
        "notes.txt is not a picture, and no picture is called notes",
        "page.html is not a picture",
        "phone.heic is HEIC, which is not read here",
    }
    assert names(tmp_path) == ["good.png"]


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("metadata.csv", "text\na\n", "line 2: there is no file_name"),
        ("metadata.csv", "", "is empty"),
        ("metadata.csv", "file_name,text\n../../etc/passwd,x\n", "etc/passwd', which is not here"),
        ("metadata.csv", "file_name,text\n/etc/passwd,x\n", "'/etc/passwd', which is not here"),
        ("metadata.csv", f"file_name,text\ngood.png,{'x' * 4001}\n", "longer than 4000"),
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
    said = refused(tmp_path, loose(tmp_path / "in", {"good.png": png(), name: content}))
    assert words in said and name in said
    assert [one.caption for one in tray(tmp_path).pictures()] == [""]


def test_only_one_metadata_file_is_read(tmp_path: Path) -> None:
    both: dict[str, bytes | str] = {
        "good.png": png(),
        "metadata.csv": "file_name,text\ngood.png,yes\n",
        "metadata.jsonl": "{}",
    }
    words = refused(tmp_path, loose(tmp_path / "in", both))
    assert words == "metadata.jsonl was not read, for there is metadata.csv as well"
    assert [one.caption for one in tray(tmp_path).pictures()] == ["yes"]
    link = tmp_path / "in" / "link.png"
    link.symlink_to("/etc/passwd")
    assert "link.png is not a file" in refused(tmp_path, [link])


def test_limits_hold_for_the_sum(tmp_path: Path) -> None:
    files = loose(tmp_path / "in", {f"{i}.png": png(i, 64) for i in range(4)})
    assert added(tmp_path, files[:2]).added == 2
    found = added(tmp_path, files, UploadLimits(pictures=3))
    assert (found.added, found.already) == (1, 2)
    assert found.left_out == ("3.png is one too many: there is room for 3",)
    assert added(tmp_path, files[3:], UploadLimits(seconds=-1)).left_out == (
        "there was no time left to check 3.png",
    )
    total = sum(one.bytes for one in tray(tmp_path).pictures())
    (words,) = added(tmp_path, files[3:], UploadLimits(bytes=total + 10)).left_out
    assert words == "3.png did not fit: there is room for 0 MB more"
    assert "did not fit" in refused(tmp_path, files[3:], UploadLimits(owner_bytes=total + 10))
    # A copy for a training takes no room of its own.
    before = bytes_in(tmp_path / "ada")
    tray(tmp_path).for_training()
    assert bytes_in(tmp_path / "ada") - before < 100
    assert added(tmp_path, files[3:]).added == 1


def test_what_a_killed_server_left_goes(tmp_path: Path) -> None:
    files = loose(tmp_path / "in", {"a.png": png()})
    added(tmp_path, files)
    home = tmp_path / "ada"
    old, new = home / ".old.tmp", home / ".new.tmp"
    for left in (old, new):
        left.mkdir()
    os.utime(old, (time.time() - 7200,) * 2)
    added(tmp_path, files)
    assert (old.exists(), new.exists()) == (False, True)


def test_a_file_that_is_gone_is_asked_for_again(tmp_path: Path) -> None:
    """Two people who upload the very same file share it until the first of them is answered."""
    files = loose(tmp_path / "in", {"good.png": png(1), "b.png": png(2)})
    files[1].unlink()
    assert refused(tmp_path, files) == "b.png is not here any more"
    (archive,) = packed(tmp_path / "a.zip", {"a.png": png(1)})
    archive.unlink()
    assert "a.zip is not here any more" in refused(tmp_path, [archive])
