"""The aspect bucket of every picture: the size that it is cut to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from memshield.config.buckets import Size, as_text, sizes_of
from memshield.config.schema import DataSettings
from memshield.data.examples import Examples, Ints
from memshield.data.images import covering


@dataclass(frozen=True)
class Buckets:
    """Aspect buckets, and which picture is in which.

    Attributes:
        sizes: of the buckets.
        number: [N] bucket of every example.
    """

    sizes: tuple[Size, ...]
    number: Ints

    @classmethod
    def of(cls, settings: DataSettings, examples: Examples) -> Buckets | None:
        """The bucket nearest to the shape of each example; None without buckets."""
        sizes = sizes_of(settings)
        if not sizes:
            return None
        return cls(sizes, nearest(sizes, examples.height, examples.width))

    def size(self, index: int) -> Size:
        """What an example is cut to."""
        return self.sizes[self.number[index]]

    def parts(self, index: Ints) -> list[tuple[Size, Ints]]:
        """Those of some examples that are in each bucket, without empty ones."""
        number = self.number[index]
        parts = [(size, index[number == bucket]) for bucket, size in enumerate(self.sizes)]
        return [(size, part) for size, part in parts if len(part)]

    def need_no_crop(self, examples: Examples) -> bool:
        """Whether every picture has the very shape of its bucket."""
        shapes = zip(examples.width.tolist(), examples.height.tolist(), strict=True)
        sizes = [self.size(index) for index in range(len(examples))]
        return all(
            covering(width, height, size) == (size[1], size[0])
            for (width, height), size in zip(shapes, sizes, strict=True)
        )

    def counts(self, index: Ints) -> list[tuple[str, int]]:
        """How many of some examples are in each bucket, by its size as the setting has it."""
        return [(as_text([size]), len(part)) for size, part in self.parts(index)]


def nearest(sizes: tuple[Size, ...], heights: Ints, widths: Ints) -> Ints:
    """The bucket of each picture, as diffusers' scripts choose it."""
    # Imported here: it imports torch, which who only reads a table can do without.
    from diffusers.training_utils import find_nearest_bucket

    shapes, shape = np.unique(np.stack([heights, widths]), axis=1, return_inverse=True)
    chosen = [find_nearest_bucket(h, w, sizes) for h, w in shapes.T.tolist()]
    return np.asarray(chosen, dtype=np.int64)[shape.reshape(-1)]
