"""Sets of pictures that may be larger than memory, read by slices."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from memshield.data.batches import IN_MEMORY_BYTES, PictureReader
from memshield.data.images import (
    FORMATS,
    BadImage,
    Mode,
    centre,
    crop,
    open_image,
    resize_to_cover,
    to_mode,
    upright_size,
)
from memshield.errors import UserError

Pixels = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_GREY_MODES = ("1", "L", "LA", "La", "F", "I")


class ImageSet:
    """Pictures of one size, [N, C, H, W] uint8: `images[10:20]` reads ten of them.

    Args:
        shape: [N, C, H, W].
        read: places [n] -> the pictures there, [n, C, H, W] uint8.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, shape: tuple[int, int, int, int], read: Callable[[Ints], Pixels]) -> None:
        self.shape = shape
        self._read = read

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Ints) -> Pixels:
        """Some pictures, by a slice or by their places."""
        places = np.arange(len(self))[rows]
        if len(places) == 0:
            return np.empty((0, *self.shape[1:]), np.uint8)
        return self._read(places)


def of_array_file(path: Path) -> ImageSet:
    """The pictures of a .npy file, which is mapped only while they are read.

    Pages of a mapped file count as this process's memory for as long as it is open.
    """

    def open_file() -> Pixels:
        mapped: Pixels = np.load(path, mmap_mode="r", allow_pickle=False)
        return mapped

    count, channels, height, width = open_file().shape
    return ImageSet(
        (count, channels, height, width), lambda places: np.asarray(open_file()[places])
    )


def of_places(images: ImageSet, chosen: Ints) -> ImageSet:
    """Some pictures of a set, by their places in it."""
    return ImageSet((len(chosen), *images.shape[1:]), lambda places: images[chosen[places]])


def of_run(reader: PictureReader, index: Ints, along: Floats | None = None) -> ImageSet:
    """Training or held-out pictures as they were trained on, but for mirroring.

    Args:
        reader: cuts to one size.
        index: [N] of the examples.
        along: [N] where each is cut, as a fraction of the room there is; the middle without.
    """
    where = np.full(len(index), 0.5) if along is None else along
    return ImageSet(
        (len(index), reader.channels, *reader.size(0)),
        lambda places: np.stack(
            [reader.read(int(index[i]), where[i], where[i])[0] for i in places]
        ),
    )


def of_folder(folder: Path, resolution: int | None = None, channels: int | None = None) -> ImageSet:
    """The PNG, JPEG and WebP files of a folder and those in it, by path; hidden ones left out.

    Pictures stay decoded in memory where all of them fit.

    Args:
        folder: whoever made its pictures.
        resolution: they are scaled and cropped to, as training pictures are; None to take them
            as they are.
        channels: 1 (grey) or 3; None for grey where all of them are, else colour.

    Raises:
        UserError: no folder, no pictures, one that cannot be decoded (here or when it is read),
            or sizes that differ.
    """
    files = _files(folder)
    sizes, grey = zip(*(_header(file) for file in files), strict=True)
    if resolution is None:
        other = next((i for i, size in enumerate(sizes) if size != sizes[0]), None)
        if other is not None:
            shown = (f"{files[i].name} has {sizes[i][0]} x {sizes[i][1]}" for i in (0, other))
            raise UserError(
                "images",
                f"pictures differ in size: {' and '.join(shown)} pixels",
                "Give a resolution to scale and crop them to.",
            )
    if channels is None:
        channels = 1 if all(grey) else 3
    mode: Mode = "L" if channels == 1 else "RGB"
    width, height = (resolution, resolution) if resolution is not None else sizes[0]
    shape = (len(files), channels, height, width)
    fits = len(files) * channels * height * width <= IN_MEMORY_BYTES
    decode = lru_cache(len(files) if fits else 0)(
        lambda place: _decode(files[place], mode, resolution)
    )
    return ImageSet(shape, lambda places: np.stack([decode(place) for place in places.tolist()]))


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError("images", f"there is no folder {folder}", "Check the path.")
    inside = (path.relative_to(folder) for path in folder.rglob("*"))
    found = [
        folder / path
        for path in sorted(inside)
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.parts)
        and not (folder / path).is_dir()
    ]
    if not found:
        raise UserError(
            "images", f"{folder} holds no pictures", f"They end in {', '.join(SUFFIXES)}."
        )
    return found


def _header(file: Path) -> tuple[tuple[int, int], bool]:
    """Width and height of the upright picture, and whether it is grey."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            grey = image.mode in _GREY_MODES or image.mode.startswith("I;")
            return upright_size(image), grey
    except BadImage as error:
        raise _undecodable(file, error) from None


def _decode(file: Path, mode: Mode, resolution: int | None) -> Pixels:
    try:
        image = to_mode(open_image(file), mode)
    except BadImage as error:
        raise _undecodable(file, error) from None
    if resolution is not None:
        size = (resolution, resolution)
        image = resize_to_cover(image, size)
        return crop(image, size, *centre(image, size))
    pixels: Any = np.atleast_3d(np.asarray(image))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _undecodable(file: Path, error: BaseException) -> UserError:
    return UserError(
        "images",
        f"{file} cannot be decoded ({type(error).__name__}: {error})",
        "Mend it, or take it out of the folder.",
    )
