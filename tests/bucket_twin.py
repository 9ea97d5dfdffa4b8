"""Aspect buckets written out plainly, and pictures of several shapes."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from diffusers.training_utils import find_nearest_bucket
from PIL import Image

from memshield.randomness import Purpose, numpy_generator
from tests.tiny import Pixels

BUCKETS = "16,16;24,12;12,24"
SHAPES = [(32, 32)] * 7 + [(40, 18)] * 8 + [(18, 40)] * 8 + [(33, 30)] * 7
"""Heights and widths: 14 nearly square pictures, 8 high and 8 wide ones."""


def shaped(shapes: Sequence[tuple[int, int]] = SHAPES) -> list[Pixels]:
    """Smooth noise of these heights and widths, [H, W, 3] each."""
    found = []
    for seed, (height, width) in enumerate(shapes):
        noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        image = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        found.append(np.asarray(image))
    return found


def shaped_folder(folder: Path, shapes: Sequence[tuple[int, int]] = SHAPES) -> Path:
    """A folder of these pictures, with captions."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for i, pixels in enumerate(shaped(shapes)):
        Image.fromarray(pixels).save(folder / f"{i:04d}.png")
        lines.append(json.dumps({"file_name": f"{i:04d}.png", "text": f"picture {i}"}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def cut(pixels: Pixels, buckets: str = BUCKETS) -> tuple[Pixels, tuple[int, int]]:
    """The middle of a picture in the size of its bucket, [H, W, 3], and its top and left."""
    image = Image.fromarray(pixels)
    sizes = [tuple(map(int, part.split(","))) for part in buckets.split(";")]
    height, width = sizes[find_nearest_bucket(image.height, image.width, sizes)]
    scale = max(height / image.height, width / image.width)
    whole = (round(image.width * scale), round(image.height * scale))
    image = image.resize(whole, Image.Resampling.BILINEAR)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return np.asarray(image.crop((left, top, left + width, top + height))), (top, left)


def walk(
    parts: Sequence[npt.NDArray[np.int64]], batch: int, seed: int, shard: int
) -> Iterator[tuple[int, ...]]:
    """The batches of a shard from its first on.

    Args:
        parts: example indices of each bucket.
        batch: pictures a batch.
        seed: of the run.
        shard: number of the shard.
    """

    def endless(bucket: int) -> Iterator[int]:
        begun: list[int] = []  # the pictures of a batch that an epoch has not filled
        for epoch in itertools.count():
            generator = numpy_generator(seed, Purpose.ORDER, shard, bucket, epoch)
            order = generator.permutation(parts[bucket]).tolist()
            first = order[:batch]
            for picture in [picture for picture in first if picture in begun]:
                first.remove(picture)
                first.append(picture)
            order[:batch] = first
            yield from order
            begun = [*begun, *order]
            begun = begun[len(begun) - len(begun) % batch :]

    streams = [endless(bucket) for bucket in range(len(parts))]
    total, taken = sum(map(len, parts)), [0] * len(parts)
    length = math.ceil(total / batch)
    for block in itertools.count():
        exact = [Fraction((block + 1) * length * len(part), total) for part in parts]
        goal = [math.floor(share) for share in exact]
        by_rest = sorted(range(len(parts)), key=lambda b: (goal[b] - exact[b], b))
        for bucket in by_rest[: (block + 1) * length - sum(goal)]:
            goal[bucket] += 1
        turns = [b for b in range(len(parts)) for _ in range(goal[b] - taken[b])]
        taken = goal
        generator = numpy_generator(seed, Purpose.BUCKETS, shard, block)
        for bucket in generator.permutation(turns).tolist():
            yield tuple(next(streams[bucket]) for _ in range(batch))
