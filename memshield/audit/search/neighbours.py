"""Exact nearest training pictures of query pictures, for sets of any size in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from memshield.audit.search.distances import (
    PIECE,
    Block,
    Features,
    Pixels,
    Rows,
    Space,
    block_distances,
    block_of,
)
from memshield.audit.search.running_nearest import Best

Ints = npt.NDArray[np.int64]

MEMORY = 2**30
"""Bytes that a search may use, on the device or beside it, unless told otherwise."""

_CACHE = 2**25
_LARGEST_BLOCK = 4096
_MORE = 16
"""Neighbours searched beyond k, because some may be duplicates of the first."""


@dataclass(frozen=True)
class Neighbours:
    """The nearest training pictures of every query, by (distance, index).

    Attributes:
        index: [Q, k] training picture (not crop), -1 where there are not that many.
        distance: [Q, k] squared L2 distance, of pixels in [0, 1] or of features; inf where index
            is -1.
        mirrored: [Q] whether it is the mirrored first neighbour that lies so near.
    """

    index: Ints
    distance: npt.NDArray[np.float64]
    mirrored: npt.NDArray[np.bool_]


def nearest(
    queries: Rows,
    training: Rows,
    k: int = 50,
    *,
    mirrored: bool = False,
    groups: npt.ArrayLike | None = None,
    exclude: npt.ArrayLike | None = None,
    crop_of: npt.ArrayLike | None = None,
    memory: int = MEMORY,
    device: str | torch.device = "cpu",
    progress: Callable[[int], object] | None = None,
) -> Neighbours:
    """The k nearest training pictures of every query: exact, also among near duplicates.

    Args:
        queries: [Q, C, H, W] uint8 or [Q, D] float32 (or float16); anything that can be sliced.
        training: [N, ...] of the same kind; [R, ...] with `crop_of`.
        k: neighbours of each query.
        mirrored: the distance to a training picture is the smaller one of the image and its mirror
            image (the width axis flipped); for images only.
        groups: [N] duplicate group of every training picture. The neighbours after the first lie
            outside the first one's group, or an image that exists twice would look like two.
        exclude: [Q] group that has no neighbours of this query: its own, when training pictures
            are searched among themselves. Needs `groups`.
        crop_of: [R] training picture that each row is a crop of, ascending from 0; for images
            only. The distance to a picture is the smallest of those to its crops.
        memory: bytes to work with; inputs and results come on top. One query and all crops of one
            training image at a time are always held.
        progress: called with the number of queries that are done.

    Raises:
        ValueError: shapes or types do not fit, or features are not finite.
    """
    space = _space(queries, training, k, mirrored, memory)
    target = torch.device(device)
    crops = None if crop_of is None else _CropTable.of(crop_of, training, space)
    pictures = training.shape[0] if crops is None else len(crops)
    codes = None if groups is None else _integers("groups", groups, pictures)
    search = _Search(space, training, k, mirrored, codes, crops, memory, target)
    count = queries.shape[0]
    outside = _outside(exclude, groups, count)
    index = np.full((count, k), -1, np.int64)
    distance = np.full((count, k), np.inf)
    flags = np.zeros(count, np.bool_)
    with torch.inference_mode(), _full_precision():
        for start in range(0, count, search.step):
            rows = slice(start, min(start + search.step, count))
            stored = queries[rows]
            not_from = None if outside is None else outside[rows].to(target)[:, None]
            found, code = search.outside_first_group(stored, not_from)
            distance[rows] = found.cpu().numpy() * space.unit
            index[rows] = (code >> 1).cpu().numpy()
            flags[rows] = ((code[:, 0] & 1) == 1).cpu().numpy()
            if progress is not None:
                progress(rows.stop)
    return Neighbours(index, distance, flags)


@dataclass(frozen=True)
class _CropTable:
    """Which rows are crops of which picture.

    Attributes:
        first: [N + 1] first row of every picture, and the end.
    """

    first: Ints

    @classmethod
    def of(cls, crop_of: npt.ArrayLike, training: Rows, space: Space) -> _CropTable:
        """Check the picture of every row."""
        picture = _integers("crop_of", crop_of, training.shape[0]).numpy()
        if not isinstance(space, Pixels):
            raise ValueError("crop_of: features have no crops")
        if len(picture) and (picture[0] != 0 or not np.isin(np.diff(picture), (0, 1)).all()):
            raise ValueError("crop_of: pictures must follow each other, from 0")
        return cls(np.searchsorted(picture, np.arange(picture.max(initial=-1) + 2)))

    def __len__(self) -> int:
        return len(self.first) - 1

    def blocks(self, step: int) -> Iterator[slice]:
        """Pictures whose crops fit in `step` rows together, or a single one."""
        start = 0
        while start < len(self):
            most = int(np.searchsorted(self.first, self.first[start] + step, "right")) - 1
            stop = max(start + 1, most)
            yield slice(start, stop)
            start = stop

    def rows(self, pictures: slice) -> slice:
        """Their crops."""
        return slice(int(self.first[pictures.start]), int(self.first[pictures.stop]))

    def places(self, pictures: slice) -> Iterator[tuple[Tensor, Tensor]]:
        """Of pictures with V crops each: their places [n] in the block, and [n, V] in `rows`.

        One oblong picture among square ones does not make them all as long.
        """
        bounds = self.first[pictures.start : pictures.stop + 1] - self.first[pictures.start]
        counts = np.diff(bounds)
        for count in np.unique(counts):
            alike = np.flatnonzero(counts == count)
            crops = bounds[alike][:, None] + np.arange(count)
            yield torch.from_numpy(alike), torch.from_numpy(crops)


class _Search:
    """Blocks of queries against blocks of the training set.

    Attributes:
        step: rows in a block.
    """

    def __init__(
        self,
        space: Space,
        training: Rows,
        k: int,
        mirrored: bool,
        groups: Tensor | None,
        crops: _CropTable | None,
        memory: int,
        device: torch.device,
    ) -> None:
        self._space, self._training, self._k, self._mirrored = space, training, k, mirrored
        self._groups = None if groups is None else groups.to(device)
        self._crops = crops
        self._device = device
        # A quarter is for looking through distances (`Best`), less where it would not stay in
        # the cache; the rest for a block of b x b distances and b rows of either set:
        # cell b^2 + row b bytes.
        self._looking = memory // 4
        if device.type == "cpu":
            self._looking = min(self._looking, _CACHE)
        cell = (36 if mirrored else 28) + (0 if crops is None else 24)
        row = 6 * space.itemsize * space.width + 24 * min(space.width, PIECE) + 64 * (k + _MORE)
        root = math.isqrt(row * row + 4 * cell * (memory - self._looking))
        self.step = min(_LARGEST_BLOCK, max(1, (root - row) // (2 * cell)))

    def outside_first_group(self, stored: Any, not_from: Tensor | None) -> tuple[Tensor, Tensor]:
        """The k nearest of stored queries, from the second on outside the first one's group.

        Args:
            stored: [q, ...].
            not_from: [q, 1] group without neighbours, or None.

        Returns:
            distance [q, k] in units of the space, and code [q, k], see `Best`.
        """
        queries = self._orientations(stored)
        if self._groups is None:
            return self._nearest(queries, self._k, not_from)
        distance, code = self._nearest(queries, self._k + _MORE, not_from)
        first = self._groups[(code[:, 0] >> 1).clamp(min=0)]
        inside = self._groups[(code >> 1).clamp(min=0)] == first[:, None]
        inside[:, 0] = False
        # With fewer than k outside, others may be farther away than the search has looked.
        short = torch.nonzero(((~inside).sum(dim=1) < self._k) & (code[:, -1] >= 0)).squeeze(1)
        # Those outside move up, in their order.
        order = inside.to(torch.uint8).sort(dim=1, stable=True).indices[:, : self._k]
        distance = distance.masked_fill_(inside, torch.inf).gather(1, order)
        code = code.masked_fill_(inside, -2).gather(1, order)
        if len(short) and self._k > 1:
            banned = first[short, None]
            if not_from is not None:
                banned = torch.cat([banned, not_from[short]], dim=1)
            some = [Block(block.rows[short], block.squares[short]) for block in queries]
            distance[short, 1:], code[short, 1:] = self._nearest(some, self._k - 1, banned)
        return distance, code

    def _orientations(self, stored: Any) -> list[Block]:
        stored = np.asarray(stored)
        views = [stored, stored[..., ::-1]] if self._mirrored else [stored]
        return [block_of(self._space, self._space.load(view, self._device)) for view in views]

    def _nearest(
        self, queries: list[Block], k: int, banned: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The k nearest, none from the groups `banned` [q, b]."""
        best = Best(self._space, queries[0], k, self._looking)
        for pictures, rows in self._blocks():
            loaded = self._space.load(self._training[rows], self._device)
            block = block_of(self._space, loaded)
            distances = self._distances(queries[0], block, pictures)
            flipped = None
            if self._mirrored:
                # As far from the mirrored training picture as its mirror image is from it.
                other = self._distances(queries[1], block, pictures)
                flipped = other < distances
                torch.minimum(distances, other, out=distances)
            if banned is not None and self._groups is not None:
                for group in banned.unbind(dim=1):
                    distances.masked_fill_(self._groups[pictures] == group[:, None], torch.inf)
            best.offer(block, pictures.start, distances, flipped)
        return best.distance, best.code

    def _distances(self, queries: Block, block: Block, pictures: slice) -> Tensor:
        """[q, n] to the pictures of a block, whose rows are the pictures or crops of them."""
        distances = block_distances(self._space, queries, block)
        if self._crops is None:
            return distances
        count = pictures.stop - pictures.start
        nearest = distances.new_empty((len(distances), count))
        for alike, crops in self._crops.places(pictures):
            among = distances[:, crops.to(self._device)].amin(dim=2)
            nearest[:, alike.to(self._device)] = among
        return nearest

    def _blocks(self) -> Iterator[tuple[slice, slice]]:
        """Pictures of a block, and the rows that they are."""
        if self._crops is not None:
            for pictures in self._crops.blocks(self.step):
                yield pictures, self._crops.rows(pictures)
            return
        for start in range(0, self._training.shape[0], self.step):
            rows = slice(start, min(start + self.step, self._training.shape[0]))
            yield rows, rows


def _space(queries: Rows, training: Rows, k: int, mirrored: bool, memory: int) -> Space:
    shape, other = tuple(queries.shape), tuple(training.shape)
    kinds = {np.asarray(rows[:1]).dtype for rows in (queries, training)}
    if k < 1:
        raise ValueError(f"k: must be at least 1, is {k}")
    if shape[1:] != other[1:] or 0 in shape[1:]:
        raise ValueError(f"queries {list(shape)} and training {list(other)}: rows differ in shape")
    if kinds == {np.dtype(np.uint8)} and len(shape) == 4:
        return Pixels(math.prod(shape[1:]))
    if kinds <= {np.dtype(np.float32), np.dtype(np.float16)} and len(shape) == 2:
        if mirrored:
            raise ValueError("mirrored: features have no mirror image")
        return Features.of(queries, training, max(1, memory // (16 * shape[1])))
    names = ", ".join(sorted(str(kind) for kind in kinds))
    raise ValueError(
        "queries and training: must be uint8 [N, C, H, W] or float32 [N, D], "
        f"are {names} {list(shape)} and {list(other)}"
    )


def _outside(
    exclude: npt.ArrayLike | None, groups: npt.ArrayLike | None, count: int
) -> Tensor | None:
    if exclude is None:
        return None
    if groups is None:
        raise ValueError("exclude: names groups, but there are none")
    return _integers("exclude", exclude, count)


def _integers(name: str, values: npt.ArrayLike, count: int) -> Tensor:
    array = np.asarray(values)
    if array.shape != (count,) or (count and array.dtype.kind not in "iu"):
        raise ValueError(f"{name}: must be {count} integers, are {array.dtype} {array.shape}")
    return torch.from_numpy(array.astype(np.int64))


@contextmanager
def _full_precision() -> Iterator[None]:
    """Float32 products without TF32 or bfloat16 inside, whatever the process has set."""
    mkldnn: Any = torch.backends.mkldnn
    backends = (torch.backends.cuda.matmul, mkldnn.matmul)
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
