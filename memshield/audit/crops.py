"""The crops of training pictures that a model may give back: training cut them at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memshield.audit.images import ImageSet, Ints, Pixels
from memshield.audit.search.distances import Rows
from memshield.audit.search.neighbours import Neighbours, nearest
from memshield.audit.stats.intervals import Floats
from memshield.data.batches import PictureReader
from memshield.data.examples import Examples
from memshield.data.images import covering
from memshield.randomness import Purpose, numpy_generator

_SPACING = 32
"""Crops of a picture lie this part of their side apart, so that whatever training saw is within a
64th of one. Farther apart, fewer copies are found; nearer, audits take longer."""
_AT_ONCE = 64
"""Crops of one picture that are held beside it: a long strip has hundreds."""


@dataclass(frozen=True)
class Crops:
    """Pictures as squares, each by one crop or by several from one end to the other.

    Attributes:
        images: [R, C, H, W] uint8; those of one picture follow each other.
        picture: [R] place of the picture that each is of, ascending from 0.
    """

    images: ImageSet
    picture: Ints

    @classmethod
    def of(cls, reader: PictureReader, examples: Examples, index: Ints) -> Crops | None:
        """The crops of some examples; None where each has only one.

        Args:
            reader: cuts at random, to one size.
            examples: the table.
            index: [N] of the examples.
        """
        if reader.fixed_crop or reader.buckets is not None:
            return None
        size = reader.size(0)
        fractions = [
            _fractions(int(examples.width[i]), int(examples.height[i]), size[0]) for i in index
        ]
        picture = np.repeat(np.arange(len(index)), [len(one) for one in fractions])
        along = np.concatenate(fractions)
        if len(picture) == len(index):
            return None

        def read(places: Ints) -> Pixels:
            return np.stack(
                [reader.read(int(index[picture[i]]), along[i], along[i])[0] for i in places]
            )

        return cls(ImageSet((len(picture), reader.channels, *size), read), picture)


def drawn_places(count: int) -> Floats:
    """[count] where each example of a table is cut once, as training cuts it at random.

    Held-out pictures are fresh ones only if they are cut as those that a model makes: middles
    alone, whose subjects often stand there, lie farther from all others than other parts do.
    """
    return numpy_generator(0, Purpose.CROPS).random(count)


def nearest_pictures(
    queries: Rows, training: Rows, crops: Crops | None, k: int, **options: Any
) -> Neighbours:
    """The nearest training pictures of others, by the nearest crop of each.

    Args:
        queries: [.., C, H, W] uint8.
        training: [N, C, H, W] uint8, the middles.
        crops: of the training pictures; None where their middles are all that was seen.
        k, options: see `memshield.audit.search.neighbours.nearest`.
    """
    if crops is None:
        return nearest(queries, training, k, **options)
    return nearest(queries, crops.images, k, crop_of=crops.picture, **options)


def nearest_crop(
    training: Rows, crops: Crops | None, picture: int, pixels: Pixels, mirrored: bool
) -> Pixels:
    """The crop [C, H, W] of a training picture that is the nearest to some pixels.

    Args:
        training, crops: see `nearest_pictures`.
        picture: its place.
        pixels: [C, H, W] uint8.
        mirrored: the crop is compared from left to right.
    """
    found: Pixels
    if crops is None:
        found = training[picture : picture + 1][0]
        return found
    first, end = np.searchsorted(crops.picture, [picture, picture + 1])
    least = np.inf
    for start in range(int(first), int(end), _AT_ONCE):
        views = crops.images[start : min(start + _AT_ONCE, int(end))]
        seen = views[..., ::-1] if mirrored else views
        distance = np.square(seen.astype(np.float32) - pixels).sum(axis=(1, 2, 3))
        if distance.min() < least:
            least, found = distance.min(), views[int(distance.argmin())]
    return found


class NearestCrops:
    """Of each generated picture the crop that it is nearest to, read when it is wanted.

    Args:
        training, crops: see `nearest_pictures`.
        generated: [M, C, H, W] uint8.
        picture: [M] place of the training picture that each is nearest to.
        mirrored: [M] whether it is its mirror image.
    """

    def __init__(
        self,
        training: Rows,
        crops: Crops,
        generated: Rows,
        picture: Ints,
        mirrored: npt.NDArray[np.bool_],
    ) -> None:
        self._training, self._crops, self._generated = training, crops, generated
        self._picture, self._mirrored = picture, mirrored
        self.shape = generated.shape

    def __getitem__(self, rows: slice, /) -> Pixels:
        of = zip(self._picture[rows], self._mirrored[rows], self._generated[rows], strict=True)
        return np.stack(
            [
                nearest_crop(self._training, self._crops, int(place), pixels, bool(mirrored))
                for place, mirrored, pixels in of
            ]
        )


def _fractions(width: int, height: int, side: int) -> Floats:
    """Where the crops of a picture lie, as fractions of the room there is."""
    room = max(covering(width, height, (side, side))) - side
    count = 1 + min(room, -(-_SPACING * room // side))
    if count == 1:
        return np.array([0.5])
    # Also the middle, which other trainers cut alone; of an odd room there are two.
    middle = (room // 2, (room + 1) // 2)
    left = np.unique(np.concatenate([np.linspace(0, room, count).round(), middle]))
    # What is cut starts at the whole part of the fraction of room + 1 places.
    fractions: Floats = (left + 0.5) / (room + 1)
    return fractions
