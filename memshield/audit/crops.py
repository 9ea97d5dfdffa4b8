"""The crops of training pictures that a model may give back: training cut them at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from memshield.audit.images import ImageSet, Ints, Pixels
from memshield.audit.search.distances import Rows
from memshield.audit.search.neighbours import Neighbours, nearest
from memshield.audit.stats.intervals import Floats
from memshield.data.batches import PictureReader
from memshield.data.examples import Examples
from memshield.data.images import covering

_SPACING = 32
"""Crops of a picture lie this part of their side apart, so that whatever training saw is within a
64th of one. Farther apart, fewer copies are found; nearer, audits take longer."""


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
    views = crops.images[int(first) : int(end)]
    seen = views[..., ::-1] if mirrored else views
    distance = np.square(seen.astype(np.float32) - pixels).sum(axis=(1, 2, 3))
    found = views[int(distance.argmin())]
    return found


def _fractions(width: int, height: int, side: int) -> Floats:
    """Where the crops of a picture lie, as fractions of the room there is."""
    room = max(covering(width, height, (side, side))) - side
    count = 1 + min(room, -(-_SPACING * room // side))
    if count == 1:
        return np.array([0.5])
    left = np.linspace(0, room, count).round()
    # What is cut starts at the whole part of the fraction of room + 1 places.
    fractions: Floats = (left + 0.5) / (room + 1)
    return fractions
