"""Batches by step number: always the same, full, in permutations, inside the pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from memshield.config.file import Config
from memshield.data.batches import MicroBatch, PictureReader, ShardBatches, captions_of
from memshield.data.examples import Examples
from memshield.data.images import open_image, resize_to_cover, to_mode
from memshield.data.scan import scan
from memshield.data.source import Source, SourceSettings, open_source
from tests.data import save_set, settings
from tests.tiny import Pixels, pictures

RESOLUTION = 8
RANDOM: dict[str, Any] = {"random_flip": True, "proportion_empty_prompts": 0.5}


@dataclass(frozen=True)
class Opened:
    """A dataset that was scanned with some settings."""

    config: Config
    source: Source
    examples: Examples

    def reader(self, channels: int = 3, resolution: int = RESOLUTION) -> PictureReader:
        crop = self.config.center_crop
        return PictureReader(self.source, self.examples, channels, resolution, crop)

    def batches(self, shard: int = 0, encoded: bool = False) -> ShardBatches:
        reader = None if encoded else self.reader()
        return ShardBatches(self.config, self.examples, shard, reader)

    def resized(self, index: int) -> Pixels:
        """A whole picture at the training resolution, [H, W, 3]."""
        image = to_mode(open_image(self.source.picture(int(self.examples.row[index]))), "RGB")
        return np.asarray(resize_to_cover(image, (RESOLUTION, RESOLUTION)))


def opened(dataset: Path, **changes: Any) -> Opened:
    config = settings(dataset, resolution=RESOLUTION, **changes)
    source = open_source(SourceSettings.of(config))
    return Opened(config, source, scan(config, source).examples)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of 12 x 16 and 16 x 10 px, so that crops are random; with captions."""
    stored = [p[:12] if i % 2 else p[:, :10] for i, p in enumerate(pictures(14))]
    captions = [f"caption {i}" for i in range(14)]
    return save_set(tmp_path_factory.mktemp("sets") / "wide", stored, text=captions)


@pytest.fixture(scope="module")
def square(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_set(tmp_path_factory.mktemp("sets") / "square", pictures(14))


def assert_equal(one: list[MicroBatch], other: list[MicroBatch]) -> None:
    assert len(one) == len(other)
    for first, second in zip(one, other, strict=True):
        for name in ("index", "flip", "empty"):
            assert np.array_equal(getattr(first, name), getattr(second, name)), name
        for name in ("pixels", "original_size", "crop"):
            assert torch.equal(getattr(first, name), getattr(second, name)), name


def pixels_of(batch: MicroBatch) -> Iterator[tuple[int, Pixels]]:
    assert batch.pixels is not None
    for i, index in enumerate(batch.index.tolist()):
        yield index, batch.pixels[i].numpy().transpose(1, 2, 0)


# Order


def test_every_epoch_is_a_permutation_of_the_shard(wide: Path) -> None:
    data = opened(wide, train_batch_size=3)
    for shard in (0, 1):
        members = data.examples.of_shard(shard).tolist()
        batches = data.batches(shard, encoded=True)
        count = len(members)
        assert count == 7
        drawn = np.concatenate([batches.indices(step) for step in range(4 * count)]).tolist()
        epochs = [drawn[start : start + count] for start in range(0, len(drawn), count)]
        assert len(epochs) == 12
        assert all(sorted(epoch) == members for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) > 6


def test_shards_and_seeds_have_orders_of_their_own(wide: Path) -> None:
    orders = []
    for seed in (0, 1):
        data = opened(wide, train_batch_size=7, seed=seed)
        for shard in (0, 1):
            places = {index: i for i, index in enumerate(data.examples.of_shard(shard).tolist())}
            index = data.batches(shard, encoded=True).indices(0)
            orders.append(tuple(places[i] for i in index.tolist()))
    assert len(set(orders)) == 4


def test_batches_are_full_and_micro_batches_follow_the_order(wide: Path) -> None:
    data = opened(wide, train_batch_size=2, gradient_accumulation_steps=3)
    batches = data.batches()
    for step in range(8):
        parts = batches[step]
        assert [len(part.index) for part in parts] == [2, 2, 2]
        index = np.concatenate([part.index for part in parts])
        assert np.array_equal(index, batches.indices(step))
        for part in parts:
            assert part.pixels is not None
            assert part.pixels.shape == (2, 3, RESOLUTION, RESOLUTION)
            assert part.pixels.dtype == torch.uint8


def test_accumulation_only_cuts_a_batch_into_parts(wide: Path) -> None:
    whole = opened(wide, train_batch_size=6, **RANDOM).batches()
    parts = opened(wide, train_batch_size=2, gradient_accumulation_steps=3, **RANDOM).batches()
    for step in range(8):
        (batch,) = whole[step]
        for name in ("index", "flip", "empty", "pixels", "original_size", "crop"):
            joined = np.concatenate([np.asarray(getattr(part, name)) for part in parts[step]])
            assert np.array_equal(joined, np.asarray(getattr(batch, name))), name


def test_there_is_no_last_step(wide: Path) -> None:
    batches = opened(wide).batches(encoded=True)
    with pytest.raises(TypeError, match="endless"):
        len(batches)
    assert len(batches.indices(10**9)) == 2


# The same step, the same batch


def test_a_step_is_the_same_whenever_it_is_asked_for(wide: Path) -> None:
    data = opened(wide, **RANDOM)
    once = [data.batches()[step] for step in range(12)]
    again = data.batches()
    for step in [11, 0, 5, 5, 3, *range(12)]:
        assert_equal(again[step], once[step])


@pytest.mark.parametrize("center_crop", [True, False])
def test_a_picture_has_one_crop_however_often_it_is_read(wide: Path, center_crop: bool) -> None:
    reader = opened(wide, center_crop=center_crop).reader()
    for index in range(4):
        pixels, corner = reader.read(index, 0.9, 0.9)
        again, same_corner = reader.read(index, 0.9, 0.9)
        assert np.array_equal(pixels, again)
        assert corner == same_corner


def test_batches_of_pictures_kept_in_memory_stay_the_same(wide: Path) -> None:
    data = opened(wide, center_crop=True)
    batches = data.batches()
    once = [batches[step] for step in range(6)]
    for step in range(6):
        assert_equal(batches[step], once[step])


def workers() -> int:
    return len(psutil.Process().children())


def test_steps_are_loaded_in_order(square: Path) -> None:
    data = opened(square, dataloader_num_workers=2, **RANDOM)
    before = workers()
    with closing(data.batches().load(range(3, 9))) as loaded:
        for step, batch in zip(range(3, 9), loaded, strict=True):
            assert_equal(batch, data.batches()[step])
            # Pictures that stay in memory are not fetched from another process.
            assert workers() == before


def test_a_worker_loads_the_same_batches_and_goes(wide: Path) -> None:
    data = opened(wide, dataloader_num_workers=1, **RANDOM)
    before = workers()
    with closing(data.batches().load(range(3, 9))) as loaded:
        assert_equal(next(loaded), data.batches()[3])
        assert workers() == before + 1
        # A stop of the whole process group leaves it at work.
        psutil.Process().children()[-1].terminate()
        for step, batch in zip(range(4, 7), loaded, strict=False):
            assert_equal(batch, data.batches()[step])
    assert workers() == before, "it goes although not all was read"


# Flips, crops and captions


def test_flips_are_mirrored_pictures(square: Path) -> None:
    data = opened(square, random_flip=True)
    batches = data.batches()
    seen = set()
    for step in range(20):
        for part in batches[step]:
            for (index, pixels), flip in zip(pixels_of(part), part.flip.tolist(), strict=True):
                whole = data.resized(index)
                assert np.array_equal(pixels, whole[:, ::-1] if flip else whole)
                seen.add(flip)
    assert seen == {True, False}


def test_nothing_is_mirrored_unless_asked_for(square: Path) -> None:
    batches = opened(square).batches(encoded=True)
    assert not any(part.flip.any() for step in range(20) for part in batches[step])


@pytest.mark.parametrize("center_crop", [True, False])
@pytest.mark.parametrize("random_flip", [True, False])
def test_crops_lie_inside_the_picture(wide: Path, center_crop: bool, random_flip: bool) -> None:
    data = opened(wide, center_crop=center_crop, random_flip=random_flip)
    for step in range(20):
        # Fresh ones: where pictures are kept, the first reading is the one that crops.
        for part in data.batches()[step]:
            assert part.crop is not None
            corners = part.crop.tolist()
            flips = part.flip.tolist()
            for (index, pixels), (top, left), flip in zip(
                pixels_of(part), corners, flips, strict=True
            ):
                # The crop of a mirrored picture is told as it lies in the mirrored one.
                whole = data.resized(index)[:, ::-1] if flip else data.resized(index)
                height, width = whole.shape[:2]
                assert 0 <= top <= height - RESOLUTION
                assert 0 <= left <= width - RESOLUTION
                cut = whole[top : top + RESOLUTION, left : left + RESOLUTION]
                assert np.array_equal(pixels, cut)
                if center_crop:
                    room = width - RESOLUTION
                    assert top == (height - RESOLUTION) // 2
                    assert left == (room - room // 2 if flip else room // 2)


def test_random_crops_differ_between_steps_and_reach_both_ends(wide: Path) -> None:
    data = opened(wide)
    batches = data.batches()
    corners: dict[int, set[tuple[int, int]]] = {}
    for step in range(100):
        for part in batches[step]:
            assert part.crop is not None
            for index, (top, left) in zip(part.index.tolist(), part.crop.tolist(), strict=True):
                corners.setdefault(index, set()).add((top, left))
    for index, found in corners.items():
        height, width = data.resized(index).shape[:2]
        downs, acrosses = range(height - RESOLUTION + 1), range(width - RESOLUTION + 1)
        assert found == {(top, left) for top in downs for left in acrosses}
        assert len(found) > 1


def test_original_sizes_are_those_of_the_pictures(wide: Path) -> None:
    data = opened(wide)
    for part in data.batches()[0]:
        assert part.original_size is not None
        for index, (height, width) in zip(
            part.index.tolist(), part.original_size.tolist(), strict=True
        ):
            assert (height, width) == ((12, 16) if index % 2 else (16, 10))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_the_captions_is_empty(wide: Path, share: float) -> None:
    batches = opened(wide, proportion_empty_prompts=share).batches(encoded=True)
    empty = [bool(e) for step in range(500) for part in batches[step] for e in part.empty]
    # 1000 draws: three deviations are 0.044 at most.
    assert abs(np.mean(empty) - share) <= (0.05 if 0 < share < 1 else 0)


def test_flips_and_empty_captions_are_drawn_apart(wide: Path) -> None:
    batches = opened(wide, **RANDOM).batches(encoded=True)
    parts = [part for step in range(100) for part in batches[step]]
    pairs = [pair for part in parts for pair in zip(part.flip, part.empty, strict=True)]
    for both in ((True, True), (True, False), (False, True), (False, False)):
        # 200 draws, 50 of each kind expected.
        assert 25 <= pairs.count(both) <= 75


@pytest.mark.parametrize(
    "change",
    [{"random_flip": True}, {"proportion_empty_prompts": 0.5}, {"center_crop": True}],
)
def test_one_setting_does_not_change_what_another_one_draws(
    wide: Path, change: dict[str, Any]
) -> None:
    base = {"proportion_empty_prompts": 0.2}
    before, after = opened(wide, **base), opened(wide, **{**base, **change})
    assert np.array_equal(before.examples.shard, after.examples.shard)
    for step in range(20):
        for one, other in zip(before.batches()[step], after.batches()[step], strict=True):
            assert np.array_equal(one.index, other.index)
            if "proportion_empty_prompts" not in change:
                assert np.array_equal(one.empty, other.empty)
            if "center_crop" not in change:
                assert one.crop is not None
                assert other.crop is not None
                upright = ~torch.from_numpy(other.flip)  # where a picture is not mirrored
                assert torch.equal(one.crop[:, 0], other.crop[:, 0])
                assert torch.equal(one.crop[upright], other.crop[upright])


# The reader, and captions


def test_grey_models_get_one_channel(square: Path) -> None:
    data = opened(square)
    pixels, _ = data.reader(channels=1).read(3)
    image = resize_to_cover(
        to_mode(open_image(data.source.picture(3)), "L"), (RESOLUTION, RESOLUTION)
    )
    assert pixels.shape == (1, RESOLUTION, RESOLUTION)
    assert np.array_equal(pixels[0], np.asarray(image))


def test_pictures_smaller_than_the_resolution_are_enlarged(square: Path) -> None:
    pixels, corner = opened(square).reader(resolution=40).read(0)
    assert pixels.shape == (3, 40, 40)
    assert corner == (0, 0)


def test_where_encodings_are_cached_no_pixels_are_read(wide: Path) -> None:
    data = opened(wide, **RANDOM)
    for step in range(5):
        for cached, live in zip(
            data.batches(encoded=True)[step], data.batches()[step], strict=True
        ):
            assert cached.pixels is None
            assert np.array_equal(cached.index, live.index)
            assert np.array_equal(cached.flip, live.flip)
            assert np.array_equal(cached.empty, live.empty)


def test_captions_are_looked_up_by_example(wide: Path, square: Path) -> None:
    data = opened(wide, max_train_samples=9)
    captions = captions_of(data.source, data.examples)
    assert captions is not None
    known = {pixels.tobytes(): i for i, pixels in enumerate(shapes_of(wide))}
    for index, caption in enumerate(captions):
        stored = np.asarray(open_image(data.source.picture(int(data.examples.row[index]))))
        assert caption == f"caption {known[stored.tobytes()]}"
    plain = opened(square)
    assert captions_of(plain.source, plain.examples) is None


def test_captions_of_pictures_after_a_bad_one_do_not_shift(tmp_path: Path) -> None:
    stored: list[Pixels | bytes] = [*pictures(8)]
    stored[2] = b"broken"
    dataset = save_set(tmp_path / "set", stored, text=[f"caption {i}" for i in range(8)])
    data = opened(dataset, skip_bad_images=True)
    assert captions_of(data.source, data.examples) == [
        f"caption {i}" for i in (0, 1, 3, 4, 5, 6, 7)
    ]


def shapes_of(dataset: Path) -> list[Pixels]:
    source = open_source(SourceSettings.of(settings(dataset)))
    return [np.asarray(open_image(source.picture(row))) for row in range(len(source))]
