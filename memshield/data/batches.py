"""The batches of a shard, by step number: any step can be had at any time, in any process."""

from __future__ import annotations

import signal
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from memshield.config.buckets import Size
from memshield.config.file import Config
from memshield.data.buckets import Buckets
from memshield.data.examples import Examples
from memshield.data.images import Mode, crop, open_image, resize_to_cover, to_mode
from memshield.data.order import order_of
from memshield.data.source import Source
from memshield.randomness import Purpose, numpy_generator

Ints = npt.NDArray[np.int64]
IN_MEMORY_BYTES = 2 * 2**30
"""Pictures whose crop is fixed are kept decoded up to this size."""


class PictureReader:
    """Decoded, scaled and cropped pictures by example index.

    Where the crop is fixed and they fit in memory, pictures are decoded once.

    Args:
        source: the dataset.
        examples: the table.
        channels: 1 (grey) or 3.
        resolution: side in pixels.
        center_crop: crop the centre; otherwise at the fractions given to `read`.
        buckets: cut each picture to the size of its bucket instead of to a square.
    """

    def __init__(
        self,
        source: Source,
        examples: Examples,
        channels: int,
        resolution: int,
        center_crop: bool,
        buckets: Buckets | None = None,
    ) -> None:
        self._source = source
        self._examples = examples
        self._mode: Mode = "L" if channels == 1 else "RGB"
        self._center_crop = center_crop
        self._square = (resolution, resolution)
        self.channels = channels
        self.buckets = buckets
        self.fixed_crop = center_crop or (
            examples.all_square() if buckets is None else buckets.need_no_crop(examples)
        )
        self._kept: dict[int, tuple[npt.NDArray[np.uint8], int, int, int]] = {}
        self._last: tuple[int, npt.NDArray[np.uint8]] | None = None
        sizes = (self._square,) if buckets is None else buckets.sizes
        largest = max(height * width for height, width in sizes)
        fits = len(examples) * channels * largest <= IN_MEMORY_BYTES
        self.in_memory = self.fixed_crop and fits

    def size(self, index: int) -> Size:
        """Height and width that an example is cut to."""
        return self._square if self.buckets is None else self.buckets.size(index)

    def read(
        self, index: int, across: float = 0.5, down: float = 0.5, mirrored: bool = False
    ) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
        """One picture.

        Args:
            index: of the example.
            across, down: where a random crop lies, as fractions of the room there is, before
                anything is mirrored.
            mirrored: left to right.

        Returns:
            uint8 [C, H, W], and (top, left) of the crop after scaling and mirroring.
        """
        kept = self._kept.get(index) or self._cut(index, across, down)
        if self.in_memory:
            self._kept[index] = kept
        pixels, top, left, right = kept
        return (pixels[:, :, ::-1], (top, right)) if mirrored else (pixels, (top, left))

    def _cut(
        self, index: int, across: float, down: float
    ) -> tuple[npt.NDArray[np.uint8], int, int, int]:
        """The crop, and what of the scaled picture lies above, left and right of it."""
        tall, wide = self.size(index)
        scaled = self._scaled(index)
        down_room, across_room = scaled.shape[1] - tall, scaled.shape[2] - wide
        top, left = down_room // 2, across_room // 2
        if not self._center_crop:
            left = int(across * (across_room + 1))
            top = int(down * (down_room + 1))
        cut = np.ascontiguousarray(scaled[:, top : top + tall, left : left + wide])
        return cut, top, left, across_room - left

    def _scaled(self, index: int) -> npt.NDArray[np.uint8]:
        """A whole picture, uint8 [C, H, W]; the last one is kept for other crops of it."""
        if self._last is None or self._last[0] != index:
            row = int(self._examples.row[index])
            image = to_mode(open_image(self._source.picture(row)), self._mode)
            image = resize_to_cover(image, self.size(index))
            self._last = index, crop(image, (image.height, image.width), 0, 0)
        return self._last[1]


@dataclass(frozen=True)
class MicroBatch:
    """What one forward pass takes, not yet encoded.

    Attributes:
        index: [B] example indices.
        flip: [B] mirrored left to right.
        empty: [B] caption replaced by an empty one.
        pixels: [B, C, H, W] uint8, of one size, mirrored where `flip` says so; None where
            encodings are cached.
        original_size, crop: [B, 2], see `families.base.Pictures`; None likewise.
    """

    index: Ints
    flip: npt.NDArray[np.bool_]
    empty: npt.NDArray[np.bool_]
    pixels: Tensor | None = None
    original_size: Tensor | None = None
    crop: Tensor | None = None


class ShardBatches(Dataset[list[MicroBatch]]):
    """Step s of a shard -> its micro-batches, one for every accumulation step.

    Batches are full, and of one aspect bucket where there are buckets (see `order`).

    Args:
        config: resolved settings.
        examples: the table.
        shard: number of the shard.
        reader: of the pictures, or None where encodings are cached.
    """

    def __init__(
        self, config: Config, examples: Examples, shard: int, reader: PictureReader | None
    ) -> None:
        self._config = config
        self._examples = examples
        self._shard = shard
        self._reader = reader
        members, buckets = examples.of_shard(shard), Buckets.of(config, examples)
        self._order = order_of(members, buckets, config.train_batch_size, config.seed, shard)

    def __len__(self) -> int:
        raise TypeError("a shard's batches are endless")

    def indices(self, step: int) -> Ints:
        """Example indices of a step, all micro-batches together."""
        each = self._config.gradient_accumulation_steps
        numbers = range(step * each, (step + 1) * each)
        return np.concatenate([self._order.batch(number) for number in numbers])

    def __getitem__(self, step: int) -> list[MicroBatch]:
        index = self.indices(step)
        # Always drawn, used or not: one setting does not change what another one sees.
        draws = numpy_generator(self._config.seed, Purpose.AUGMENT, self._shard, step).random(
            (4, len(index))
        )
        flip = draws[0] < (0.5 if self._config.random_flip else 0.0)
        empty = draws[1] < self._config.proportion_empty_prompts
        size = self._config.train_batch_size
        parts = [slice(start, start + size) for start in range(0, len(index), size)]
        if self._reader is None:
            return [MicroBatch(index[p], flip[p], empty[p]) for p in parts]
        return [
            _read(self._reader, self._examples, index[p], flip[p], empty[p], draws[2:, p])
            for p in parts
        ]

    def load(self, steps: range) -> Generator[list[MicroBatch], None, None]:
        """These steps in order, from worker processes where the config asks for them.

        Close it when it is not read to its end: its workers do not heed signals.
        """
        # Pictures that stay decoded in memory are nearer than another process.
        at_hand = self._reader is None or self._reader.in_memory
        loader = DataLoader(
            self,
            batch_size=None,
            sampler=steps,
            num_workers=0 if at_hand else min(self._config.dataloader_num_workers, len(steps)),
            collate_fn=_as_it_is,
        )
        # A stop reaches the whole process group, but the trainer still finishes its step: workers
        # inherit that the signals are blocked, from their first moment.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        try:
            batches = iter(loader)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield from batches


def micro_batch(reader: PictureReader | None, examples: Examples, index: Ints) -> MicroBatch:
    """Pictures as they are: not mirrored, the centre of them, with their own captions.

    Args:
        reader: of the pictures, or None where encodings are cached.
        examples: the table.
        index: [B] example indices.
    """
    never = np.zeros(len(index), dtype=np.bool_)
    if reader is None:
        return MicroBatch(index, never, never)
    return _read(reader, examples, index, never, never, np.full((2, len(index)), 0.5))


def _read(
    reader: PictureReader,
    examples: Examples,
    index: Ints,
    flip: npt.NDArray[np.bool_],
    empty: npt.NDArray[np.bool_],
    crops: npt.NDArray[np.float64],
) -> MicroBatch:
    shape = (len(index), reader.channels, *reader.size(int(index[0])))
    pixels = np.empty(shape, dtype=np.uint8)
    corners = []
    for i, (example, mirrored) in enumerate(zip(index.tolist(), flip.tolist(), strict=True)):
        pixels[i], corner = reader.read(example, crops[0, i], crops[1, i], mirrored)
        corners.append(corner)
    size = np.stack([examples.height[index], examples.width[index]], axis=1)
    return MicroBatch(
        index,
        flip,
        empty,
        torch.from_numpy(pixels),
        torch.from_numpy(size),
        torch.tensor(corners),
    )


def _as_it_is(batches: list[MicroBatch]) -> list[MicroBatch]:
    return batches


def captions_of(source: Source, examples: Examples) -> Sequence[str] | None:
    """The caption of every example by its index, or None where the dataset has none."""
    captions = source.captions()
    return None if captions is None else [captions[row] for row in examples.row.tolist()]
