"""Copies of any part of pictures that training cut at random."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from memshield.audit.auditing import require_same_pictures
from memshield.audit.crops import Crops, nearest_crop
from memshield.audit.generate import GeneratedImages
from memshield.audit.images import ImageSet, Ints, of_run
from memshield.audit.measurement import ModelMeasurer
from memshield.audit.measures import AuditImages, Findings, search_control, search_pixels
from memshield.audit.private_report import write_private
from memshield.audit.reference import Reference
from memshield.audit.report import SECOND, SQUARED
from memshield.audit.search.features import PrincipalComponents, rows_of
from memshield.audit.stats.quality import kernel_distance
from memshield.data.batches import PictureReader
from memshield.data.buckets import Buckets
from memshield.data.examples import Examples
from memshield.data.scan import scan
from memshield.data.source import Source, SourceSettings, open_source
from memshield.errors import UserError
from memshield.sampling.nearness import CopyWatch
from tests.audit.pictures import Pictures, smooth_fields
from tests.audit.reports import report_of
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


def middle(scenes: Pictures) -> Pictures:
    return scenes[..., SIDE // 2 : SIDE // 2 + SIDE]


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
        ((64, 66), 64, [0, 1, 2]),
        ((64, 65), 64, [0, 1]),
        ((64, 64), 64, [0]),
        # 300 to 256 px: 44 of room, and a crop every 8 at most.
        ((256, 300), 256, [0, 7, 15, 22, 29, 37, 44]),
        # The middle as well; of 43 there are two.
        ((96, 128), 96, [0, 3, 6, 9, 12, 15, 16, 17, 20, 23, 26, 29, 32]),
        ((256, 299), 256, [0, 7, 14, 21, 22, 29, 36, 43]),
    ],
)
def test_crops_reach_from_end_to_end(
    tmp_path: Path, shape: tuple[int, int], side: int, starts: list[int]
) -> None:
    """Of any part, one is within a 64th of the side, and of the middle it is the very one."""
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
    scenes: Pictures,
    crops: Crops | None,
    generated: Pictures,
    mirrored: bool = False,
    middles: bool = False,
) -> tuple[Findings, AuditImages]:
    """Against training pictures, with held-out ones cut at random, or `middles` of them."""
    held_out = cut_at_random(scenes[MEMBERS : MEMBERS + HELD_OUT], 7)
    if middles or crops is None:
        held_out = middle(scenes[MEMBERS : MEMBERS + HELD_OUT])
    groups = np.arange(MEMBERS)
    sets = AuditImages(
        middle(scenes[:MEMBERS]), held_out, generated, groups, mirrored, torch.device("cpu"), crops
    )
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


def authenticity_of(found: Findings) -> float:
    (second,) = (one for one in found.measures if one.statistic == SECOND)
    return second.figures["authenticity (Alaa et al. 2022)"]


def framed(scenes: Pictures, texture: str) -> Pictures:
    """Scenes three times as wide as high, with their texture in the middle or at both ends."""
    place = np.abs(np.arange(3 * SIDE) - (3 * SIDE - 1) / 2) / (1.5 * SIDE)
    strength = 1 - place if texture == "middle" else place
    wide = np.concatenate([scenes, scenes[..., ::-1][..., :SIDE]], axis=3)
    pictures: Pictures = np.clip(127.5 + (wide - 127.5) * strength**2, 0, 255).astype(np.uint8)
    return pictures


def cut_wide(scenes: Pictures, seed: int) -> Pictures:
    starts = np.random.default_rng(seed).integers(0, 2 * SIDE + 1, len(scenes))
    return np.stack([one[:, :, i : i + SIDE] for one, i in zip(scenes, starts, strict=True)])


@pytest.mark.parametrize("texture", ["middle", "ends"])
def test_fresh_parts_are_held_against_parts_and_not_against_middles(
    scenes: Pictures, tmp_path: Path, texture: str
) -> None:
    """Of pictures whose middle is unlike their ends, parts and middles pass by other chances."""
    wide = framed(scenes, texture)
    _, examples, reader = opened(save_set(tmp_path / "set", as_stored(wide[:MEMBERS])))
    crops = Crops.of(reader, examples, np.arange(MEMBERS))
    assert crops is not None
    fresh = cut_wide(wide[MEMBERS + HELD_OUT :], 8)
    groups, middles = np.arange(MEMBERS), wide[..., SIDE : 2 * SIDE]
    quiet = lambda what, done, total: None  # noqa: E731
    shares = {}
    for name, controls in (
        ("parts", cut_wide(wide[MEMBERS : MEMBERS + HELD_OUT], 9)),
        ("middles", middles[MEMBERS : MEMBERS + HELD_OUT]),
    ):
        sets = AuditImages(
            middles[:MEMBERS], controls, fresh, groups, False, torch.device("cpu"), crops
        )
        found = search_pixels(sets, search_control(sets, quiet), quiet)
        shares[name] = found.measures[0].share
        assert authenticity_of(found) > 0.4, "half of them are nearer to others, as of fresh ones"
    assert shares["parts"] is not None and shares["parts"] < 0.04
    if texture == "middle":
        assert shares["middles"] is not None and shares["middles"] > 0.05
    # What copies a part is told from it, wherever the texture is.
    copies = cut_wide(wide[:60], 10)
    found = search_pixels(replace(sets, generated=copies), None, quiet)
    assert authenticity_of(found) < 0.1


def unread(count: int) -> ImageSet:
    """Pictures that nobody may look at."""

    def read(places: Ints) -> Pictures:
        raise AssertionError(places)

    return ImageSet((count, 3, SIDE, SIDE), read)


def stored(pictures: Pictures) -> ImageSet:
    return ImageSet((len(pictures), 3, SIDE, SIDE), lambda places: pictures[places])


@pytest.fixture
def reference(crops: Crops, read: tuple[Source, Examples, PictureReader]) -> Reference:
    _, examples, reader = read
    index = np.arange(MEMBERS)
    return Reference(
        "set", None, examples, index, of_run(reader, index), unread(HELD_OUT), None, None,
        mirrored=False, crops=crops,
    )  # fmt: skip


def test_chance_and_quality_are_those_of_parts(
    scenes: Pictures, crops: Crops, reference: Reference
) -> None:
    """The middles of held-out pictures are for membership alone."""
    held_out = scenes[MEMBERS : MEMBERS + HELD_OUT]
    parts = cut_at_random(scenes[:MEMBERS], 11), cut_at_random(held_out, 12)
    reference = replace(reference, drawn=(stored(parts[0]), stored(parts[1])))
    fresh = cut_at_random(scenes[MEMBERS + HELD_OUT :], 13)
    measurer = ModelMeasurer(reference, torch.device("cpu"))
    measurer.open()
    found = measurer.compare(GeneratedImages(stored(fresh), np.arange(0)))
    by_hand, _ = search(scenes, crops, fresh)
    assert found.memorization[0].control_count == HELD_OUT
    assert abs((found.memorization[0].threshold or 0) - (by_hand.measures[0].threshold or 1)) < 0.1
    (kernel,) = (one for one in found.quality if one.measure == "KID")
    assert kernel.fresh is not None
    space = PrincipalComponents(parts[0])
    learned, unseen = (rows_of(one, space) for one in parts)
    assert kernel.fresh == pytest.approx(kernel_distance(unseen, learned).value)
    assert kernel.value == pytest.approx(kernel_distance(unseen, rows_of(fresh, space)).value)


def test_audits_that_compared_otherwise_give_no_threshold_and_stand_beside_none(
    crops: Crops, reference: Reference
) -> None:
    made = report_of(excess=0.1, kid=0.1)
    alike = {
        "fingerprint": reference.fingerprint, "resolution": SIDE, "held_out": HELD_OUT,
        "random_crops": MEMBERS,
    }  # fmt: skip
    threshold = made.memorization[0].model_copy(update={"statistic": SQUARED, "threshold": 0.5})
    for compared, source in ((len(crops.picture), "audit"), (0, "fixed"), (7, "fixed")):
        data = made.data.model_copy(update={**alike, "compared_crops": compared})
        report = made.model_copy(update={"data": data, "memorization": (threshold,)})
        assert CopyWatch(reference, [report], torch.device("cpu")).rule.source == source
        if source == "audit":
            require_same_pictures(report, reference, "runs/a")
        else:
            with pytest.raises(UserError, match="runs/a was compared with other crops"):
                require_same_pictures(report, reference, "runs/a")


def test_drawn_pictures_are_compared_with_every_part(
    scenes: Pictures, reference: Reference
) -> None:
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
