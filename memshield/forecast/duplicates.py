"""Finds duplicates among pictures on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from memshield.config.file import fields
from memshield.data.duplicate_pairs import pairs_in_turn
from memshield.data.duplicates import groups, mirror
from memshield.data.images import BadImage, open_image, to_mode
from memshield.data.scan import Scanned, scan_picture
from memshield.data.source import Source, SourceSettings, open_source, open_upload

MOST_PICTURES = 2000
"""Limit of the comparison, whose time grows with the square."""
MOST_PAIRS = 40
SECONDS = 20.0
SIDE = 256
_AT_ONCE = 32
PairKind = Literal["exact", "near", "mirrored"]


@dataclass(frozen=True)
class DuplicatePair:
    """Two pictures of a duplicate group.

    Attributes:
        kind: exact if all pixels are equal; mirrored if one is nearer to the other's mirror image
            than to the other.
        rows: of the source.
        images: RGB, scaled down.
        distance: root mean square of their 16 px thumbnails in [0, 1], one of them mirrored where
            that is the kind.
    """

    kind: PairKind
    rows: tuple[int, int]
    images: tuple[Image.Image, Image.Image]
    distance: float


@dataclass(frozen=True)
class DuplicatePairs:
    """The result of a search for duplicates.

    Attributes:
        shown: pairs, one of every group before the second of any.
        groups: number of groups.
        pictures: number of pictures in the groups.
        compared: number of compared pictures.
        rows: number of all pictures.
        unreadable: rows whose pictures cannot be decoded.
    """

    shown: tuple[DuplicatePair, ...]
    groups: int
    pictures: int
    compared: int
    rows: int
    unreadable: tuple[int, ...]

    @property
    def complete(self) -> bool:
        """Whether all pictures were compared."""
        return self.compared + len(self.unreadable) == self.rows


def open_folder(folder: Path, uploaded: bool = False) -> Source:
    """Open the pictures of a folder.

    Args:
        folder: with pictures.
        uploaded: whether somebody else brought them, see `open_upload`.

    Raises:
        UserError: there are none.
    """
    settings = SourceSettings(train_data_dir=str(folder))
    return open_upload(settings) if uploaded else open_source(settings, token=False)


def find_duplicates(
    source: Source,
    distance: float | None = None,
    *,
    mirrored: bool = False,
    most_pictures: int = MOST_PICTURES,
    most_pairs: int = MOST_PAIRS,
    seconds: float = SECONDS,
    side: int = SIDE,
) -> DuplicatePairs:
    """Find duplicates by the rules of training, within bounds of time and memory.

    Args:
        source: of pictures on this machine.
        distance: value of `duplicate_distance`; None for its default.
        mirrored: whether pictures are to be mirrored at random, so that mirror images count.
        most_pictures: number of pictures to compare.
        most_pairs: number of pairs to return.
        seconds: time limit of decoding; the pictures decoded so far are compared.
        side: longer side of a returned picture, in pixels.
    """
    scanned, unreadable = _scan(source, min(len(source), most_pictures), seconds)
    rows = list(scanned)
    found = pair_up(
        [scanned[row].sha256 for row in rows],
        [scanned[row].thumbnail for row in rows],
        lambda place: _shown(source, rows[place], side),
        distance,
        mirrored=mirrored,
        most_pairs=most_pairs,
    )
    shown = (replace(pair, rows=(rows[pair.rows[0]], rows[pair.rows[1]])) for pair in found.shown)
    return replace(found, shown=tuple(shown), rows=len(source), unreadable=tuple(unreadable))


def pair_up(
    hashes: Sequence[str],
    thumbnails: Sequence[npt.NDArray[np.float32]],
    image: Callable[[int], Image.Image],
    distance: float | None = None,
    *,
    mirrored: bool = False,
    most_pairs: int = MOST_PAIRS,
) -> DuplicatePairs:
    """Find duplicates among scanned pictures, by the rules of training.

    Args:
        hashes, thumbnails: of each picture; see `memshield.data.scan`.
        image: returns a picture to show, by its place.
        distance: value of `duplicate_distance`; None for its default.
        mirrored: whether mirror images count.
        most_pairs: number of pairs to return.
    """
    if not hashes:
        return DuplicatePairs((), 0, 0, 0, 0, ())
    vectors = np.stack(thumbnails)
    reach = fields()["duplicate_distance"].default if distance is None else distance
    group_of = groups(hashes, vectors, reach, mirrored)
    sizes = np.bincount(group_of)
    shown = []
    for first, other in islice(pairs_in_turn(group_of), most_pairs):
        apart = _distance(vectors[first], vectors[other])
        kind: PairKind = "exact" if hashes[first] == hashes[other] else "near"
        if mirrored and (as_mirrored := _distance(vectors[first], mirror(vectors[other]))) < apart:
            kind, apart = "mirrored", as_mirrored
        shown.append(DuplicatePair(kind, (first, other), (image(first), image(other)), apart))
    return DuplicatePairs(
        shown=tuple(shown),
        groups=int((sizes > 1).sum()),
        pictures=int(sizes[sizes > 1].sum()),
        compared=len(hashes),
        rows=len(hashes),
        unreadable=(),
    )


def _distance(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean((first - second) ** 2)))


def _scan(source: Source, count: int, seconds: float) -> tuple[dict[int, Scanned], list[int]]:
    """Scan pictures by row, and list the rows that cannot be decoded."""
    ends = time.monotonic() + seconds
    scanned: dict[int, Scanned] = {}
    unreadable: list[int] = []
    for start in range(0, count, _AT_ONCE):
        rows = list(range(start, min(start + _AT_ONCE, count)))
        for row, stored in zip(rows, source.pictures(rows), strict=True):
            found = scan_picture(stored)
            if isinstance(found, Scanned):
                scanned[row] = found
            else:
                unreadable.append(row)
            if time.monotonic() > ends:
                return scanned, unreadable
    return scanned, unreadable


def _shown(source: Source, row: int, side: int) -> Image.Image:
    try:
        image = to_mode(open_image(source.picture(row)), "RGB")
    except BadImage:  # its file was deleted since the scan
        return Image.new("RGB", (side, side), "lightgrey")
    image.thumbnail((side, side))
    return image
