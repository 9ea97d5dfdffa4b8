"""Copies of any part of pictures that training cut at random."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from memshield.audit.crops import Crops, nearest_crop
from memshield.audit.images import ImageSet, Ints, of_run
from memshield.audit.measures import AuditImages, Findings, search_control, search_pixels
from memshield.audit.private_report import write_private
from memshield.audit.reference import Reference
from memshield.audit.report import SECOND, SQUARED
from memshield.data.batches import PictureReader
from memshield.data.buckets import Buckets
from memshield.data.examples import Examples
from memshield.data.scan import scan
from memshield.data.source import Source, SourceSettings, open_source
from memshield.sampling.nearness import CopyWatch
from tests.audit.pictures import Pictures, smooth_fields
from tests.data import save_set, settings

SIDE, MEMBERS, HELD_OUT, FRESH = 16, 240, 800, 240


def opened(folder: Path, **changes: Any) -> tuple[Source, Examples, PictureReader]:
    config = settings(
        folder, held_out_fraction=0.0, num_shards=1, resolution=SIDE, duplicate_distance=0,
        **changes,
    )  # fmt: skip
    source = open_source(SourceSettings.of(config))
    examples = scan(config, source).examples
    return source, examples, PictureReader(source, examples, 3, SIDE, config.center_crop)


@pytest.fixture(scope="module")
def scenes() -> Pictures:
    """[N, 3, 16, 32]: twice as wide as high."""
    fields = smooth_fields(MEMBERS + HELD_OUT + FRESH, np.random.default_rng(0), 32)
    return fields[:, :, :SIDE]


def cut_at_random(scenes: Pictures, seed: int) -> Pictures:
    starts = np.random.default_rng(seed).integers(0, SIDE + 1, len(scenes))
    return np.stack([one[:, :, i : i + SIDE] for one, i in zip(scenes, starts, strict=True)])


def as_stored(scenes: Pictures) -> list[Any]:
    return list(scenes.transpose(0, 2, 3, 1))


@pytest.fixture(scope="module")
def read(
    scenes: Pictures, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Source, Examples, PictureReader]:
    return opened(save_set(tmp_path_factory.mktemp("wide") / "set", as_stored(scenes[:MEMBERS])))


@pytest.fixture(scope="module")
def crops(read: tuple[Source, Examples, PictureReader]) -> Crops:
    found = Crops.of(read[2], read[1], np.arange(MEMBERS))
    assert found is not None
    return found


def test_small_pictures_are_cut_at_every_place(crops: Crops, scenes: Pictures) -> None:
    np.testing.assert_array_equal(crops.picture, np.repeat(np.arange(MEMBERS), SIDE + 1))
    for place in (0, 1, MEMBERS - 1):
        found = crops.images[place * (SIDE + 1) : (place + 1) * (SIDE + 1)]
        expected = [scenes[place, :, :, i : i + SIDE] for i in range(SIDE + 1)]
        np.testing.assert_array_equal(found, np.stack(expected))


@pytest.mark.parametrize(
    ("shape", "side", "starts"),
    [
        ((64, 96), 64, range(0, 33, 2)),
        ((96, 64), 64, range(0, 33, 2)),
        ((64, 66), 64, [0, 2]),
        ((64, 65), 64, [0, 1]),
        ((64, 64), 64, [0]),
        # 300 to 256 px: 44 of room, and a crop every 8 at most.
        ((256, 300), 256, [0, 7, 15, 22, 29, 37, 44]),
    ],
)
def test_crops_reach_from_end_to_end(
    tmp_path: Path, shape: tuple[int, int], side: int, starts: list[int]
) -> None:
    """Of any part, one is within a 64th of the side."""
    wide = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    oblong = np.random.default_rng(1).integers(0, 256, (side, 2 * side, 3), np.uint8)
    source, examples, _ = opened(save_set(tmp_path / "set", [wide, oblong]))
    reader = PictureReader(source, examples, 3, side, False)
    found = Crops.of(reader, examples, np.flatnonzero(examples.width != 2 * side)[:1])
    if len(starts) == 1:
        assert found is None, "its one crop is the middle"
        return
    assert found is not None
    across = shape[1] > shape[0]
    expected = [
        (wide[:, i : i + side] if across else wide[i : i + side]).transpose(2, 0, 1) for i in starts
    ]
    np.testing.assert_array_equal(found.images[:], np.stack(expected))
    steps = np.diff([*starts])
    assert steps.max(initial=0) <= max(1, side // 32)


def test_square_pictures_among_others_have_one_crop(tmp_path: Path, scenes: Pictures) -> None:
    stored = [*as_stored(scenes[:3]), *as_stored(scenes[:3, :, :, :SIDE])]
    _, examples, reader = opened(save_set(tmp_path / "set", stored))
    found = Crops.of(reader, examples, np.arange(6))
    assert found is not None
    counts = np.bincount(found.picture)
    np.testing.assert_array_equal(counts, np.where(examples.width == SIDE, 1, SIDE + 1))


def test_fixed_crops_and_buckets_are_no_random_ones(tmp_path: Path, scenes: Pictures) -> None:
    wide = save_set(tmp_path / "wide", as_stored(scenes[:4]))
    square = save_set(tmp_path / "square", as_stored(scenes[:4, :, :, :SIDE]))
    for folder, changes in ((wide, {"center_crop": True}), (square, {})):
        _, examples, reader = opened(folder, **changes)
        assert Crops.of(reader, examples, np.arange(4)) is None
    source, examples, _ = opened(wide)
    buckets = Buckets(((SIDE, SIDE),), np.zeros(4, np.int64))
    reader = PictureReader(source, examples, 3, SIDE, False, buckets)
    assert Crops.of(reader, examples, np.arange(4)) is None


def search(
    scenes: Pictures, crops: Crops | None, generated: Pictures, mirrored: bool = False
) -> tuple[Findings, AuditImages]:
    middles = scenes[..., SIDE // 2 : SIDE // 2 + SIDE]
    groups = np.arange(MEMBERS)
    sets = AuditImages(
        middles[:MEMBERS], middles[MEMBERS : MEMBERS + HELD_OUT], generated, groups, mirrored,
        torch.device("cpu"), crops,
    )  # fmt: skip
    quiet = lambda what, done, total: None  # noqa: E731
    return search_pixels(sets, search_control(sets, quiet), quiet), sets


@pytest.mark.parametrize("mirrored", [False, True])
def test_copies_of_any_part_are_found_with_their_source(
    scenes: Pictures, crops: Crops, tmp_path: Path, mirrored: bool
) -> None:
    noise = np.random.default_rng(2).normal(0, 4, (60, 3, SIDE, SIDE))
    copies = np.clip(cut_at_random(scenes[:60], 1) + noise, 0, 255).astype(np.uint8)
    if mirrored:
        copies = np.ascontiguousarray(copies[..., ::-1])
    fresh = cut_at_random(scenes[MEMBERS + HELD_OUT :], 3)
    generated = np.concatenate([copies, fresh])
    found, sets = search(scenes, crops, generated, mirrored)
    by_name = {one.statistic: one for one in found.measures}
    for name in (SQUARED, SECOND):
        low, _ = by_name[name].excess_interval or (0.0, 0.0)
        assert low > 0.1, "a fifth of them are copies"
    assert set(range(60)) <= set(found.beyond.tolist())
    source = {pair.generated: pair for pair in found.pairs}
    assert all(source[i].training == i and source[i].mirrored == mirrored for i in range(60))
    assert sum(i >= 60 for i in found.beyond) <= 0.05 * len(fresh)
    assert {risk.index for risk in found.at_risk} >= set(range(60))
    # Of middles alone, most would have been missed.
    middles, _ = search(scenes, None, generated, mirrored)
    assert sum(i < 60 for i in middles.beyond) < 30

    # The owner sees the part that was given back beside the copy of it.
    write_private(found, sets, np.arange(MEMBERS), tmp_path, "Pictures")
    pair = found.pairs[0]
    beside = nearest_crop(sets.training, crops, pair.training, copies[pair.generated], mirrored)
    seen = beside[..., ::-1] if mirrored else beside
    assert np.abs(seen.astype(int) - copies[pair.generated]).mean() < 8
    shown = json.loads((tmp_path / "private.json").read_text())["pairs"]
    assert len({one["training_picture"] for one in shown[:60]}) == 60


def test_fresh_pictures_are_no_copies_of_any_part(scenes: Pictures, crops: Crops) -> None:
    found, _ = search(scenes, crops, cut_at_random(scenes[MEMBERS + HELD_OUT :], 4))
    low, _ = found.measures[0].excess_interval or (1.0, 1.0)
    assert low <= 0


def test_drawn_pictures_are_compared_with_every_part(
    scenes: Pictures, crops: Crops, read: tuple[Source, Examples, PictureReader]
) -> None:
    _, examples, reader = read

    def nothing(places: Ints) -> Pictures:
        raise AssertionError(places)

    index = np.arange(MEMBERS)
    reference = Reference(
        "set", None, examples, index, of_run(reader, index),
        ImageSet((0, 3, SIDE, SIDE), nothing), None, None, mirrored=False, crops=crops,
    )  # fmt: skip
    copies = cut_at_random(scenes[:20], 5)
    fresh = cut_at_random(scenes[MEMBERS : MEMBERS + 20], 6)
    watch = CopyWatch(reference, (), torch.device("cpu"))
    assert not watch.at_hand, "what is cut at random is read anew"
    found = watch.look(np.concatenate([copies, fresh]))
    assert [one.level for one in found] == ["near_copy"] * 20 + ["none"] * 20
    assert [one.training for one in found[:20]] == list(range(20))
    np.testing.assert_array_equal(watch.training_picture(found[3], copies[3]), copies[3])
    middles = CopyWatch(replace(reference, crops=None), (), torch.device("cpu"))
    assert sum(one.level == "near_copy" for one in middles.look(copies)) < 10
