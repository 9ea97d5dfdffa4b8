"""Pictures in every form that datasets hold, against what a viewer shows."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps, features

from memshield.data.images import (
    BadImage,
    Mode,
    centre,
    crop,
    open_image,
    resize_to_cover,
    to_mode,
)
from tests.data import encode
from tests.tiny import Pixels, pictures

EXIF_ORIENTATION = 0x0112


def shown(stored: Any, mode: Mode = "RGB") -> Pixels:
    return np.asarray(to_mode(open_image(stored), mode))


def file_of(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def colour() -> Pixels:
    return pictures(1, 24)[0]


@pytest.fixture(scope="module")
def grey() -> Pixels:
    return pictures(1, 24, channels=1)[0]


# Ways of storing


def test_every_way_of_storing_gives_the_same_pixels(tmp_path: Path, colour: Pixels) -> None:
    path = tmp_path / "a.png"
    data = encode(colour)
    path.write_bytes(data)
    ways: list[Any] = [
        data,
        path,
        str(path),
        {"bytes": data, "path": None},
        {"bytes": data, "path": "a/name/only.png"},
        {"bytes": None, "path": str(path)},
        colour,
        Image.fromarray(colour),
    ]
    for stored in ways:
        assert np.array_equal(shown(stored), colour)


def test_arrays_may_be_grey(grey: Pixels) -> None:
    assert np.array_equal(shown(grey, "L"), grey)
    assert np.array_equal(shown(grey, "RGB"), np.stack([grey] * 3, axis=-1))


def test_arrays_may_have_one_channel(grey: Pixels) -> None:
    assert np.array_equal(shown(grey[:, :, None], "L"), grey)


# Modes


def test_grey_and_colour_become_each_other(grey: Pixels, colour: Pixels) -> None:
    assert np.array_equal(shown(encode(grey), "RGB"), np.stack([grey] * 3, axis=-1))
    luma = colour @ np.array([0.299, 0.587, 0.114])
    assert np.abs(shown(encode(colour), "L") - luma).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white(mode: str, colour: Pixels) -> None:
    alpha = np.linspace(0, 255, 24 * 24).astype(np.uint8).reshape(24, 24)
    image = Image.fromarray(colour).convert("L" if mode == "LA" else "RGB")
    opaque = np.asarray(image.convert("RGB")).astype(float)
    image.putalpha(Image.fromarray(alpha))
    assert image.mode == mode
    share = alpha[:, :, None] / 255
    expected = opaque * share + 255 * (1 - share)
    assert np.abs(shown(file_of(image, "PNG")) - expected).max() <= 1


def test_a_transparent_palette_entry_is_white() -> None:
    image = Image.new("P", (4, 2), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.paste(1, (2, 0, 4, 2))
    for kind in ("PNG", "GIF"):
        pixels = shown(file_of(image, kind, transparency=0))
        assert (pixels[:, :2] == 255).all()
        assert (pixels[:, 2:] == [40, 50, 60]).all()


def test_a_transparent_colour_is_white(colour: Pixels) -> None:
    first = tuple(colour[0, 0].tolist())
    pixels = shown(encode(colour, transparency=first))
    assert (pixels[0, 0] == 255).all()
    assert np.array_equal(pixels[12:], colour[12:])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str) -> None:
    values = np.linspace(0, 65535, 24 * 24).astype(np.uint16).reshape(24, 24)
    pixels = shown(encode(values, kind), "L")  # type: ignore[arg-type]
    assert np.abs(pixels - values / 257).max() <= 0.5
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_dark_sixteen_bits_stay_dark() -> None:
    values = np.full((4, 4), 257 * 3, np.uint16)
    assert (shown(file_of(Image.fromarray(values), "PNG"), "RGB") == 3).all()


@pytest.mark.parametrize("top", [1, 255])
def test_floating_point_is_scaled(top: int) -> None:
    values = np.linspace(0, top, 24 * 24).astype(np.float32).reshape(24, 24)
    pixels = shown(file_of(Image.fromarray(values), "TIFF"), "L")
    assert np.abs(pixels - values * (255 / top)).max() <= 0.51


def test_cmyk_jpeg() -> None:
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    pixels = shown(file_of(cyan, "JPEG", quality=95)).astype(int)
    assert np.abs(pixels - [0, 255, 255]).max() <= 4


def test_an_animation_shows_its_first_frame() -> None:
    red, blue = Image.new("RGB", (6, 4), "red"), Image.new("RGB", (6, 4), "blue")
    pixels = shown(file_of(red, "GIF", save_all=True, append_images=[blue]))
    assert pixels.shape == (4, 6, 3)
    assert (pixels == [255, 0, 0]).all()


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_rotated_photographs_are_upright(orientation: int, kind: str) -> None:
    pixels = pictures(1, 32)[0][:16]
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    stored = encode(pixels, kind, exif=exif)
    expected = UPRIGHT[orientation](np.asarray(Image.open(io.BytesIO(stored))))
    assert np.array_equal(shown(stored), expected)


def test_exif_data_that_no_camera_should_write_turn_and_refuse_nothing_else() -> None:
    """A tag of another type than it should have, which Pillow reads and cannot write anew."""
    pixels = pictures(1, 32)[0][:16]
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    exif[296] = 2  # the unit of the resolution, a SHORT
    stored = encode(pixels, "JPEG", exif=exif)
    entry = stored.index(bytes.fromhex("01280003"), stored.index(b"Exif"))
    odd = stored[: entry + 2] + bytes.fromhex("0007") + stored[entry + 4 :]
    with Image.open(io.BytesIO(odd)) as image, pytest.raises(struct.error):
        ImageOps.exif_transpose(image)
    assert np.array_equal(shown(odd), shown(stored))
    # An offset beyond the file, and a directory that is cut off.
    for end in (entry + 1, entry + 6):
        assert shown(stored[:entry] + b"\xff" * (end - entry) + stored[end:]).shape[2] == 3


# What cannot be decoded


@pytest.mark.parametrize("stored", [None, {}, {"bytes": None, "path": None}, b"", b"not a picture"])
def test_what_is_no_picture_is_bad(stored: Any) -> None:
    with pytest.raises(BadImage):
        open_image(stored)


def test_missing_files_are_bad(tmp_path: Path) -> None:
    for stored in (tmp_path / "missing.png", str(tmp_path), {"path": str(tmp_path / "x")}):
        with pytest.raises(BadImage):
            open_image(stored)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF"])
def test_truncated_pictures_are_bad(kind: str, colour: Pixels) -> None:
    data = encode(colour, kind)
    with pytest.raises(BadImage):
        open_image(data[: len(data) // 2])


KINDS = ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000", "DDS", "AVIF"]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", KINDS)
def test_damage_raises_nothing_but_bad_image(kind: str, colour: Pixels) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    whole = encode(colour, kind)
    rng = np.random.default_rng(0)
    for trial in range(300):
        data = bytearray(whole)
        # Headers break in more ways than pixels do.
        for place in rng.integers(0, min(len(data), 200), rng.integers(1, 4)):
            data[place] = rng.integers(0, 256)
        if trial % 3 == 0:
            data = data[: rng.integers(0, len(data))]
        try:
            shown(bytes(data))
        except BadImage:
            continue


@pytest.mark.parametrize("side", [10_000, 20_000])
def test_hostile_sizes_are_bad(side: int) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))
    with pytest.raises(BadImage, match=r"decompression bomb|more than is safe"):
        open_image(data)


# Scaling and cropping


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((40, 20), (32, 16)),
        ((20, 40), (16, 32)),
        ((8, 8), (16, 16)),
        ((16, 300), (16, 300)),
        ((1000, 999), (16, 16)),
    ],
)
def test_the_shorter_side_is_scaled(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert resize_to_cover(Image.new("RGB", size), (16, 16)).size == expected


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_crop_is_a_part_of_the_picture(mode: Mode, colour: Pixels) -> None:
    image = to_mode(Image.fromarray(colour), mode)
    whole = np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)
    part = crop(image, (8, 8), left=5, top=3)
    assert part.shape == (len(mode), 8, 8)
    assert part.flags.c_contiguous
    assert np.array_equal(part, whole[:, 3:11, 5:13])


def test_the_centre() -> None:
    assert centre(Image.new("L", (20, 10)), (10, 10)) == (5, 0)
    assert centre(Image.new("L", (10, 21)), (10, 10)) == (0, 5)


def test_pictures_that_are_programs_are_never_run() -> None:
    # Pillow hands EPS to Ghostscript.
    with pytest.raises(BadImage):
        open_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")
