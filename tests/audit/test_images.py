"""Sets of pictures: from folders of any make, from files, and as training reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from memshield.audit import images as module
from memshield.audit.images import ImageSet, of_array_file, of_folder, of_places, of_run
from memshield.data.batches import PictureReader, ShardBatches
from memshield.data.scan import Scan, scan
from memshield.data.source import Source, SourceSettings, open_source
from memshield.errors import UserError
from tests.data import encode, save_set, settings
from tests.tiny import Pixels, pictures

ORIENTATION = 0x0112


def write(folder: Path, files: dict[str, Any], **options: Any) -> Path:
    """A folder of pictures (arrays), in the format that the name says, or of bytes."""
    for name, stored in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(stored, bytes):
            path.write_bytes(stored)
        else:
            Image.fromarray(stored).save(path, **options)
    return folder


def planes(pixels: Pixels) -> Pixels:
    """[H, W] or [H, W, C] as [C, H, W]."""
    return np.atleast_3d(pixels).transpose(2, 0, 1)


def said_of(folder: Path, **options: Any) -> str:
    """What a user is told of a folder that is refused."""
    with pytest.raises(UserError) as caught:
        of_folder(folder, **options)[:]
    return str(caught.value)


# Folders


def test_pictures_come_in_the_order_of_their_paths(tmp_path: Path) -> None:
    made = pictures(5, 12)
    names = ["a.png", "b/a.PNG", "b/c.webp", "b.png", "c.png"]
    write(tmp_path, dict(zip(names, made, strict=True)), lossless=True)
    (tmp_path / ".hidden").mkdir()
    write(tmp_path, {"notes.txt": b"no picture", ".hidden/x.png": b"", "b/._x.png": b"junk"})
    (tmp_path / "folder.png").mkdir()
    found = of_folder(tmp_path)
    assert found.shape == (5, 3, 12, 12)
    assert len(found) == 5
    order = sorted(range(5), key=lambda i: Path(names[i]))
    expected = np.stack([planes(made[i]) for i in order])
    assert found[:].dtype == np.uint8
    np.testing.assert_array_equal(found[:], expected)
    np.testing.assert_array_equal(found[1:3], expected[1:3])
    np.testing.assert_array_equal(found[np.array([4, 0, 4])], expected[[4, 0, 4]])
    assert found[5:].shape == (0, 3, 12, 12)


def test_jpeg_files_are_read(tmp_path: Path) -> None:
    picture = pictures(1, 16)[0]
    found = of_folder(write(tmp_path, {"a.jpg": picture, "b.jpeg": picture}, quality=95))
    assert np.abs(found[:].astype(int) - planes(picture)).mean() < 8


def test_pictures_that_differ_in_size_need_a_resolution(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": pictures(1, 12)[0], "b.png": pictures(1, 12)[0][:, :9]})
    said = said_of(tmp_path)
    assert "a.png has 12 x 12 and b.png has 9 x 12 pixels" in said
    assert "resolution" in said
    assert of_folder(tmp_path, resolution=6)[:].shape == (2, 3, 6, 6)


def test_pictures_of_one_size_need_not_be_square(tmp_path: Path) -> None:
    made = pictures(1, 12)[0][:7]
    found = of_folder(write(tmp_path, {"a.png": made}))
    assert found.shape == (1, 3, 7, 12)
    np.testing.assert_array_equal(found[:][0], planes(made))


def test_grey_and_colour(tmp_path: Path) -> None:
    grey, colour = pictures(1, 8, channels=1)[0], pictures(1, 8)[0]
    write(tmp_path / "grey", {"a.png": grey, "b.png": grey.astype(np.uint16) * 257})
    found = of_folder(tmp_path / "grey")
    assert found.shape == (2, 1, 8, 8)
    np.testing.assert_array_equal(found[:], np.stack([planes(grey)] * 2))
    assert of_folder(tmp_path / "grey", channels=3).shape == (2, 3, 8, 8)
    write(tmp_path / "both", {"a.png": grey, "b.png": colour})
    mixed = of_folder(tmp_path / "both")
    np.testing.assert_array_equal(mixed[:], [np.stack([grey] * 3), planes(colour)])
    one = of_folder(tmp_path / "both", channels=1)[:]
    np.testing.assert_array_equal(one[0], planes(grey))
    assert np.abs(one[1, 0] - colour @ np.array([0.299, 0.587, 0.114])).max() <= 1


@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_rotated_photographs_are_upright(tmp_path: Path, kind: str, orientation: int) -> None:
    made = pictures(1, 32)[0][:16]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    write(tmp_path, {f"a.{kind}": made}, exif=exif, lossless=True, quality=95)
    found = of_folder(tmp_path)
    upright = np.rot90(made, {3: 2, 6: -1, 8: 1}[orientation])
    assert found.shape[2:] == upright.shape[:2] == found[:].shape[2:]
    assert np.abs(found[:][0].astype(int) - planes(upright)).mean() < 4


@pytest.mark.parametrize("kind", ["png", "webp"])
@pytest.mark.parametrize("length", range(4, 24, 2))
def test_damaged_exif_data_turn_nothing(tmp_path: Path, kind: str, length: int) -> None:
    made = pictures(1, 32)[0][:16]
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    write(tmp_path, {f"a.{kind}": made}, exif=exif.tobytes()[:length], lossless=True)
    found = of_folder(tmp_path)
    assert found.shape == found[:].shape == (1, 3, 16, 32)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("part", [0.0, 0.02, 0.5])
def test_a_picture_that_cannot_be_decoded_is_named(tmp_path: Path, kind: str, part: float) -> None:
    made = pictures(1, 32)[0]
    stored = encode(made, kind)
    suffix = "jpg" if kind == "JPEG" else kind.lower()
    write(tmp_path, {"a.png": made, f"b.{suffix}": stored[: int(part * len(stored))]})
    said = said_of(tmp_path)
    assert f"b.{suffix} cannot be decoded" in said
    assert said_of(tmp_path, resolution=8) == said


def test_folders_without_pictures_are_refused(tmp_path: Path) -> None:
    assert "there is no folder" in said_of(tmp_path / "missing")
    assert "holds no pictures" in said_of(tmp_path)
    (tmp_path / "x.png").mkdir()
    write(tmp_path, {"notes.txt": b"no picture"})
    assert "holds no pictures" in said_of(tmp_path)
    assert "there is no folder" in said_of(tmp_path / "notes.txt")


@pytest.mark.parametrize(("room", "kept"), [(10**6, True), (3 * 8 * 8 * 4, False)])
def test_pictures_stay_in_memory_where_all_of_them_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, kept: bool
) -> None:
    monkeypatch.setattr(module, "IN_MEMORY_BYTES", room)
    made = pictures(5, 8)
    write(tmp_path, {f"{i}.png": picture for i, picture in enumerate(made)})
    found = of_folder(tmp_path)
    first = found[:]
    write(tmp_path, {f"{i}.png": 255 - picture for i, picture in enumerate(made)})
    np.testing.assert_array_equal(found[:], first if kept else 255 - first)


# As training reads them


def opened(tmp_path: Path, size: tuple[int, int], **changes: Any) -> tuple[Source, Scan, Any]:
    """A dataset of ten pictures of this height and width, two of them held out."""
    made = [picture[: size[0], : size[1]] for picture in pictures(10, 24)]
    data = save_set(tmp_path / "set", made)
    config = settings(data, held_out_fraction=0.2, resolution=8, **changes)
    source = open_source(SourceSettings.of(config))
    return source, scan(config, source), config


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(24, 24), (16, 24), (24, 13)])
def test_a_run_gives_what_training_reads(
    tmp_path: Path, channels: int, size: tuple[int, int]
) -> None:
    source, prepared, config = opened(tmp_path, size, center_crop=True, random_flip=False)
    examples = prepared.examples
    reader = PictureReader(source, examples, channels, 8, center_crop=True)
    members = examples.members()
    found = of_run(reader, members)
    assert found.shape == (8, channels, 8, 8)
    whole, seen = found[:], set()
    training = PictureReader(source, examples, channels, 8, center_crop=True)
    for shard in range(2):
        batches = ShardBatches(config, examples, shard, training)
        for batch in (batch for step in range(4) for batch in batches[step]):
            assert batch.pixels is not None
            for index, pixels in zip(batch.index.tolist(), batch.pixels.numpy(), strict=True):
                np.testing.assert_array_equal(whole[members.tolist().index(index)], pixels)
                seen.add(index)
    assert seen == set(members.tolist())
    held_out = of_run(reader, examples.held_out())
    assert held_out.shape == (2, channels, 8, 8)
    np.testing.assert_array_equal(held_out[1:], [reader.read(int(examples.held_out()[1]))[0]])


def test_a_folder_of_the_same_pictures_is_the_same_set(tmp_path: Path) -> None:
    """So that a stranger's pictures can be compared with a run's."""
    source, prepared, _ = opened(tmp_path, (24, 13))
    reader = PictureReader(source, prepared.examples, 3, 8, center_crop=True)
    of_them_all = of_run(reader, np.arange(10))
    for i, picture in enumerate(pictures(10, 24)):
        write(tmp_path / "folder", {f"{i}.png": picture[:, :13]})
    folder = of_folder(tmp_path / "folder", resolution=8, channels=3)
    np.testing.assert_array_equal(of_them_all[:], folder[prepared.examples.row])


# Files and parts


def test_array_files_and_chosen_places(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (7, 1, 4, 5), dtype=np.uint8)
    np.save(tmp_path / "a.npy", values)
    found = of_array_file(tmp_path / "a.npy")
    assert isinstance(found, ImageSet)
    assert found.shape == values.shape
    np.testing.assert_array_equal(found[2:5], values[2:5])
    some = of_places(found, np.array([6, 1, 1]))
    assert some.shape == (3, 1, 4, 5)
    np.testing.assert_array_equal(some[:], values[[6, 1, 1]])
    np.testing.assert_array_equal(some[1:2], values[[1]])
    part = found[:]
    part[:] = 0
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), values)
