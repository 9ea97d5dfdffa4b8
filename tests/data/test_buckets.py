"""Aspect buckets: which picture is in which, what it is cut to, and in what order they come."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memshield.config.buckets import Size
from memshield.config.file import Config
from memshield.data.batches import PictureReader, ShardBatches
from memshield.data.buckets import Buckets
from memshield.data.examples import Examples
from memshield.data.images import open_image, to_mode
from memshield.data.order import BucketOrder, DistinctPermutations
from memshield.data.scan import Scan, scan
from memshield.data.source import Source, SourceSettings, open_source
from memshield.errors import UserError
from tests.bucket_twin import BUCKETS, cut, shaped, walk
from tests.data import save_set, settings


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_set(tmp_path_factory.mktemp("sets") / "shapes", shaped())


def opened(folder: Path, **changes: Any) -> tuple[Config, Source, Scan]:
    values = {"resolution": 16, "aspect_ratio_buckets": BUCKETS, "train_batch_size": 3, **changes}
    config = settings(folder, **values)
    source = open_source(SourceSettings.of(config))
    return config, source, scan(config, source)


def buckets_of(config: Config, examples: Examples) -> Buckets:
    found = Buckets.of(config, examples)
    assert found is not None
    return found


# What pictures are cut to


@pytest.mark.parametrize("center_crop", [True, False])
def test_pictures_keep_their_shape(shapes: Path, center_crop: bool) -> None:
    config, source, found = opened(shapes, center_crop=center_crop)
    examples, buckets = found.examples, buckets_of(config, found.examples)
    reader = PictureReader(source, examples, 3, 16, center_crop, buckets)
    for index in range(len(examples)):
        image = to_mode(open_image(source.picture(int(examples.row[index]))), "RGB")
        expected, corner = cut(np.asarray(image))
        pixels, found_corner = reader.read(index)
        if center_crop:
            assert found_corner == corner
            assert np.array_equal(pixels, expected.transpose(2, 0, 1))
        assert pixels.shape[1:] == buckets.size(index) == expected.shape[:2]


def test_random_crops_reach_both_ends(shapes: Path) -> None:
    config, source, found = opened(shapes)
    buckets = buckets_of(config, found.examples)
    reader = PictureReader(source, found.examples, 3, 16, False, buckets)
    assert not reader.fixed_crop
    for index in range(len(found.examples)):
        height, width = int(found.examples.height[index]), int(found.examples.width[index])
        tall, wide = buckets.size(index)
        scale = max(tall / height, wide / width)
        room = (round(height * scale) - tall, round(width * scale) - wide)
        assert min(room) == 0, "one side is kept whole"
        assert reader.read(index, 0.0, 0.0)[1] == (0, 0)
        assert reader.read(index, 0.999, 0.999)[1] == room


def test_mirrored_pictures_are_mirrored_in_their_own_size(shapes: Path) -> None:
    config, source, found = opened(shapes, center_crop=True)
    buckets = buckets_of(config, found.examples)
    reader = PictureReader(source, found.examples, 3, 16, True, buckets)
    index = int(np.flatnonzero(found.examples.width == 40)[0])
    plain, (top, left) = reader.read(index)
    mirrored, (top_again, right) = reader.read(index, mirrored=True)
    assert plain.shape == (3, 12, 24)
    assert np.array_equal(mirrored, plain[:, :, ::-1])
    assert top == top_again
    assert (left + right) == round(40 * max(12 / 18, 24 / 40)) - 24


def test_crops_are_fixed_where_every_picture_has_the_shape_of_its_bucket(tmp_path: Path) -> None:
    stored = shaped([(16, 16) if i % 2 else (48, 24) for i in range(12)])
    whole = save_set(tmp_path / "whole", stored)
    config, _, found = opened(whole)
    assert buckets_of(config, found.examples).need_no_crop(found.examples)
    cut = save_set(tmp_path / "cut", [*stored, *shaped([(50, 24)])])
    config, _, found = opened(cut)
    assert not buckets_of(config, found.examples).need_no_crop(found.examples)


# Batches


def drawn(config: Config, examples: Examples, shard: int, steps: int) -> list[tuple[int, ...]]:
    """The micro-batches of a shard's first steps."""
    batches = ShardBatches(config, examples, shard, None)
    return [tuple(batch.index.tolist()) for step in range(steps) for batch in batches[step]]


@pytest.mark.parametrize("accumulation", [1, 3])
def test_batches_are_those_of_a_walk_through_the_buckets(shapes: Path, accumulation: int) -> None:
    config, _, found = opened(shapes, gradient_accumulation_steps=accumulation, seed=5)
    buckets = buckets_of(config, found.examples)
    for shard in (0, 1):
        parts = [part for _, part in buckets.parts(found.examples.of_shard(shard))]
        assert len(parts) == 3
        expected = list(itertools.islice(walk(parts, 3, 5, shard), 40 * accumulation))
        assert drawn(config, found.examples, shard, 40) == expected


def test_any_step_can_be_had_at_any_time(shapes: Path) -> None:
    config, _, found = opened(shapes)
    whole = drawn(config, found.examples, 1, 30)
    batches = ShardBatches(config, found.examples, 1, None)
    for step in (29, 3, 17, 0, 16):
        assert tuple(batches.indices(step).tolist()) == whole[step]
    for count in (3, 4, 5, 6, 7, 40):
        order = DistinctPermutations(np.arange(count), 3, 0)
        in_turn = [order.batch(number).tolist() for number in range(60)]
        assert sorted(itertools.chain(*in_turn[:count])) == sorted([*range(count)] * 3)
        for number in (59, 7, 31):
            again = DistinctPermutations(np.arange(count), 3, 0)
            assert again.batch(number).tolist() == in_turn[number]


def test_a_batch_is_full_of_one_bucket_and_one_shard(shapes: Path) -> None:
    config, source, found = opened(shapes)
    examples, buckets = found.examples, buckets_of(config, found.examples)
    reader = PictureReader(source, examples, 3, 16, False, buckets)
    sizes = set()
    for shard in (0, 1):
        batches = ShardBatches(config, examples, shard, reader)
        for step in range(12):
            (batch,) = batches[step]
            (number,) = {int(buckets.number[index]) for index in batch.index}
            assert {int(examples.shard[index]) for index in batch.index} == {shard}
            assert batch.pixels is not None
            assert batch.pixels.shape == (3, 3, *buckets.sizes[number])
            sizes.add(buckets.sizes[number])
    assert sizes == set(buckets.sizes)


@pytest.mark.parametrize("counts", [(3, 3, 3), (50, 4, 3), (7, 5, 11), (101,)])
def test_every_picture_comes_as_often_as_any_other(counts: tuple[int, ...]) -> None:
    starts = np.cumsum((0, *counts))
    parts = [np.arange(low, high) for low, high in itertools.pairwise(starts)]
    order, total, batch = BucketOrder(parts, 3, 0, 0), sum(counts), 3
    taken, seen = [0] * len(parts), Counter[int]()
    for number in range(4 * total):
        index = order.batch(number)
        seen.update(index.tolist())
        assert len(set(index.tolist())) == batch
        (bucket,) = {int(np.searchsorted(starts, i, side="right")) - 1 for i in index.tolist()}
        taken[bucket] += 1
        if (number + 1) % math.ceil(total / batch) == 0:
            shares = [(number + 1) * n / total for n in counts]
            assert all(abs(t - share) < 1 for t, share in zip(taken, shares, strict=True))
    # 4 N batches of 3 are 12 times every picture, give or take a batch of its bucket.
    most, least = max(seen.values()), min(seen.values())
    assert least >= 11
    assert most <= 13
    assert len(seen) == total


# What is refused, and told


def test_a_bucket_too_small_for_a_batch_is_named(shapes: Path) -> None:
    with pytest.raises(UserError) as caught:
        opened(shapes, train_batch_size=5)
    assert caught.value.field == "aspect_ratio_buckets"
    assert caught.value.problem == (
        "a batch takes 5 pictures of one bucket (height,width), and fewer are in 2 of them:\n"
        "  24,12 has 8 pictures, 4 of them in one of 2 shards\n"
        "  12,24 has 8 pictures, 4 of them in one of 2 shards"
    )
    assert "num_shards" in caught.value.remedy
    opened(shapes, train_batch_size=4)
    opened(shapes, train_batch_size=8, num_shards=1)
    with pytest.raises(UserError, match="24,12 has 8 pictures\n"):
        opened(shapes, train_batch_size=9, num_shards=1)


def test_accumulated_batches_may_be_of_several_buckets(shapes: Path) -> None:
    config, _, found = opened(shapes, train_batch_size=1, gradient_accumulation_steps=12)
    buckets = buckets_of(config, found.examples)
    index = ShardBatches(config, found.examples, 0, None).indices(0)
    assert len(buckets.parts(index)) == 3


def test_an_empty_bucket_is_none(shapes: Path) -> None:
    _, _, found = opened(shapes, aspect_ratio_buckets=f"{BUCKETS};8,40")
    assert found.buckets == (("16,16", 14), ("24,12", 8), ("12,24", 8))


@pytest.mark.parametrize("labelled", [False, True])
def test_shards_get_an_equal_share_of_every_bucket(tmp_path: Path, labelled: bool) -> None:
    shape: list[Size] = [(16, 16)] * 9 + [(24, 12)] * 6 + [(12, 24)] * 9
    columns: dict[str, Any] = {"label": [i % 3 for i in range(24)]} if labelled else {}
    folder = save_set(tmp_path / "set", shaped(shape), **columns)
    changes: dict[str, Any] = {"label_column": "label"} if labelled else {}
    config, _, found = opened(folder, num_shards=3, train_batch_size=2, **changes)
    buckets = buckets_of(config, found.examples)
    for shard in range(3):
        counts = dict(buckets.counts(found.examples.of_shard(shard)))
        assert counts == {"16,16": 3, "24,12": 2, "12,24": 3}


def test_the_scan_tells_how_many_pictures_are_in_each_bucket(shapes: Path) -> None:
    _, _, found = opened(shapes, held_out_fraction=0.2)
    told = dict(found.facts())["buckets"]
    assert told.endswith(" pictures to train on (height,width)")
    counts = [int(part.split(":")[1].split()[0]) for part in told.split(";")]
    assert sum(counts) == len(found.examples.members()) == 24
    assert "buckets" not in dict(opened(shapes, aspect_ratio_buckets=None)[2].facts())


def test_without_buckets_pictures_are_cut_to_squares(shapes: Path) -> None:
    config, _, found = opened(shapes, aspect_ratio_buckets=None)
    assert Buckets.of(config, found.examples) is None
