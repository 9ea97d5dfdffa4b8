"""The scan: what is refused, what is kept, and the table that comes of it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from memshield.data.examples import Examples
from memshield.data.images import open_image
from memshield.data.scan import Scan, require_same_dataset, scan
from memshield.data.source import SourceSettings, open_source
from memshield.errors import UserError
from tests.data import encode, save_set, settings
from tests.refusals import refusal_of
from tests.tiny import Pixels, pictures
from tests.trained_runs import ROOT


def prepared(dataset: Path, **changes: Any) -> Scan:
    config = settings(dataset, **changes)
    return scan(config, open_source(SourceSettings.of(config)))


refusal = partial(refusal_of, prepared)


def assert_equal(one: Examples, other: Examples) -> None:
    for field in fields(Examples):
        first, second = getattr(one, field.name), getattr(other, field.name)
        assert first.dtype.kind == second.dtype.kind, field.name
        assert np.array_equal(first, second), field.name


@pytest.fixture(scope="module")
def twelve() -> list[Pixels]:
    return pictures(12)


@pytest.fixture
def dataset(tmp_path: Path, twelve: list[Pixels]) -> Path:
    return save_set(tmp_path / "set", twelve)


# What the table holds


def test_the_table(tmp_path: Path) -> None:
    stored = [pictures(1, 16, seed=i)[0][: 16 - i] for i in range(8)]
    examples = prepared(save_set(tmp_path / "set", stored, label=[0, 1] * 4)).examples
    assert examples.row.tolist() == list(range(8))
    assert examples.width.tolist() == [16] * 8
    assert examples.height.tolist() == [16, 15, 14, 13, 12, 11, 10, 9]
    assert examples.label.tolist() == [0, 1] * 4
    assert examples.split.tolist() == ["member"] * 8
    assert examples.group.tolist() == list(range(8))
    assert not examples.all_square()
    assert examples.num_shards == 2
    assert examples.shard_sizes() == [4, 4]
    assert sorted([*examples.of_shard(0), *examples.of_shard(1)]) == list(range(8))
    # Stratified: two of each class.
    assert sorted(examples.label[examples.of_shard(0)].tolist()) == [0, 0, 1, 1]


def test_rotated_photographs_are_measured_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = [encode(pixels[:9], exif=exif) for pixels in pictures(6)]
    examples = prepared(save_set(tmp_path / "set", stored)).examples
    assert examples.width.tolist() == [9] * 6
    assert examples.height.tolist() == [16] * 6


def test_pictures_are_told_apart_by_their_pixels(tmp_path: Path, twelve: list[Pixels]) -> None:
    stored: list[Pixels | bytes] = [*twelve]
    stored += [encode(twelve[3], "BMP"), encode(twelve[4], "PNG", compress_level=0)]
    found = prepared(save_set(tmp_path / "set", stored))
    sha256 = found.examples.sha256.tolist()
    assert len(set(sha256)) == 12
    assert (sha256[12], sha256[13]) == (sha256[3], sha256[4])
    assert (found.exact_groups, found.near_groups) == (2, 0)


def test_the_same_pixels_in_another_shape_are_another_picture(tmp_path: Path) -> None:
    black = [np.zeros((8, 32, 3), np.uint8), np.zeros((16, 16, 3), np.uint8)]
    sha256 = prepared(save_set(tmp_path / "set", black * 2)).examples.sha256
    assert sha256[0] == sha256[2]
    assert sha256[0] != sha256[1]


def test_missing_labels_are_minus_one(tmp_path: Path, twelve: list[Pixels]) -> None:
    labels = [None, 2, *[0] * 10]
    examples = prepared(save_set(tmp_path / "set", twelve, label=labels)).examples
    assert examples.label.tolist() == [-1, 2, *[0] * 10]


@pytest.mark.parametrize("seed", range(5))
def test_classes_of_the_members_are_spread_evenly(tmp_path: Path, seed: int) -> None:
    stored: list[Pixels | bytes] = [*pictures(40)]
    stored[1] = b"broken"
    labels = [int(n) for n in np.random.default_rng(seed).permutation([0, 1, 1, 2] * 10)]
    examples = prepared(
        save_set(tmp_path / "set", stored, label=labels),
        held_out_fraction=0.25,
        skip_bad_images=True,
        seed=seed,
    ).examples
    assert examples.label.tolist() == [labels[row] for row in examples.row.tolist()]
    for label in (0, 1, 2):
        sizes = np.bincount(
            examples.shard[examples.members()][examples.label[examples.members()] == label],
            minlength=2,
        )
        assert sizes.max() - sizes.min() <= 1


def test_without_labels_all_are_minus_one(dataset: Path) -> None:
    assert prepared(dataset).examples.label.tolist() == [-1] * 12


def test_the_same_settings_give_the_same_table(dataset: Path) -> None:
    first = prepared(dataset, held_out_fraction=0.25)
    assert_equal(first.examples, prepared(dataset, held_out_fraction=0.25).examples)
    other = prepared(dataset, held_out_fraction=0.25, seed=1)
    assert first.examples.split.tolist() != other.examples.split.tolist()


def test_the_table_reads_back_as_it_was_written(dataset: Path, tmp_path: Path) -> None:
    examples = prepared(dataset, held_out_fraction=0.25).examples
    path = tmp_path / "examples.parquet"
    examples.write(path)
    examples.write(path)
    assert_equal(Examples.read(path), examples)
    assert [entry.name for entry in tmp_path.glob("*examples*")] == ["examples.parquet"]


# Pictures that cannot be decoded


def with_bad_ones(folder: Path, bad: list[int], count: int = 12) -> Path:
    stored: list[Pixels | bytes] = [*pictures(count)]
    for row in bad:
        stored[row] = b"broken"
    return save_set(folder, stored, text=[f"caption {i}" for i in range(count)])


def test_bad_pictures_are_refused_row_by_row(tmp_path: Path) -> None:
    said = refusal(with_bad_ones(tmp_path / "set", [2, 7]))
    assert said.startswith("skip_bad_images: 2 of 12 pictures cannot be decoded:")
    assert "\n  row 2: UnidentifiedImageError" in said
    assert "\n  row 7: UnidentifiedImageError" in said
    assert "--skip_bad_images" in said


def test_of_many_bad_pictures_ten_are_named(tmp_path: Path) -> None:
    said = refusal(with_bad_ones(tmp_path / "set", list(range(13)), 20))
    assert said.count("\n  row ") == 10
    assert "and 3 more" in said


def test_bad_pictures_are_left_out_where_asked(tmp_path: Path) -> None:
    found = prepared(with_bad_ones(tmp_path / "set", [0, 7]), skip_bad_images=True)
    assert found.bad_rows == [0, 7]
    assert found.examples.row.tolist() == [1, 2, 3, 4, 5, 6, 8, 9, 10, 11]
    assert "12 found, 2 cannot be decoded and are left out" in found.lines()[0]


def test_a_set_of_bad_pictures_only_is_refused(tmp_path: Path) -> None:
    dataset = with_bad_ones(tmp_path / "set", list(range(12)))
    assert "no picture can be decoded" in refusal(dataset, skip_bad_images=True)


# Too few pictures


def test_fewer_pictures_than_shards_are_refused(dataset: Path) -> None:
    said = refusal(dataset, num_shards=13)
    assert said.startswith("num_shards: 13 shards, but only 12 pictures to train on (of 12)")
    said = refusal(dataset, num_shards=10, held_out_fraction=0.5)
    assert "10 shards, but only 6 pictures to train on (of 12)" in said


@pytest.mark.parametrize(
    "changes", [{"train_batch_size": 7}, {"gradient_accumulation_steps": 4}, {"num_shards": 7}]
)
def test_a_shard_smaller_than_a_step_is_refused(dataset: Path, changes: dict[str, int]) -> None:
    said = refusal(dataset, **changes)
    assert said.startswith("train_batch_size: the smallest shard has ")
    assert "fewer than a step takes" in said


def test_a_shard_as_large_as_a_step_is_enough(dataset: Path) -> None:
    examples = prepared(dataset, train_batch_size=3, gradient_accumulation_steps=2).examples
    assert examples.shard_sizes() == [6, 6]


# Duplicates and the held-out part


@pytest.fixture
def doubled(tmp_path: Path, twelve: list[Pixels]) -> Path:
    """Rows 12 .. 23 are copies of rows 0 .. 11, the odd ones not quite equal."""
    copies = [p if i % 2 == 0 else p - (p > 128) for i, p in enumerate(twelve)]
    return save_set(tmp_path / "doubled", [*twelve, *copies])


def test_duplicates_are_counted(doubled: Path) -> None:
    found = prepared(doubled)
    assert found.examples.group.tolist() == [*range(12), *range(12)]
    assert (found.exact_groups, found.near_groups) == (6, 6)
    assert "6 groups of equal and 6 of nearly equal pictures (24 pictures)" in found.lines()[2]


def test_distance_zero_counts_equal_pictures_only(doubled: Path) -> None:
    found = prepared(doubled, duplicate_distance=0)
    assert (found.exact_groups, found.near_groups) == (6, 0)


@pytest.mark.parametrize("flips", [False, True])
def test_mirror_images_are_copies_where_pictures_are_mirrored(
    tmp_path: Path, twelve: list[Pixels], flips: bool
) -> None:
    folder = save_set(tmp_path / "turned", [*twelve, *(pixels[:, ::-1] for pixels in twelve)])
    examples = prepared(folder, random_flip=flips, held_out_fraction=0.25).examples
    held, trained = (
        set((rows % 12).tolist()) for rows in (examples.held_out(), examples.members())
    )
    assert bool(held & trained) is not flips
    assert (examples.group[12:] == examples.group[:12]).all() == flips


def test_same_shard_keeps_copies_together(doubled: Path) -> None:
    shard = prepared(doubled).examples.shard
    assert np.array_equal(shard[:12], shard[12:])


def test_spread_keeps_copies_apart(doubled: Path) -> None:
    shard = prepared(doubled, duplicates="spread").examples.shard
    assert np.array_equal(shard[:12], 1 - shard[12:])


def test_drop_keeps_the_first_of_each_group(doubled: Path) -> None:
    found = prepared(doubled, duplicates="drop")
    examples = found.examples
    assert examples.split.tolist() == ["member"] * 12 + ["dropped"] * 12
    assert (examples.shard[12:] == -1).all()
    assert (examples.shard[:12] >= 0).all()
    assert sum(examples.shard_sizes()) == 12
    assert "12 dropped" in found.lines()[2]


@pytest.mark.parametrize("duplicates", ["same_shard", "spread", "drop"])
@pytest.mark.parametrize("seed", range(3))
def test_no_copy_of_a_held_out_picture_is_trained_on(
    doubled: Path, duplicates: str, seed: int
) -> None:
    examples = prepared(doubled, duplicates=duplicates, held_out_fraction=0.25, seed=seed).examples
    assert len(examples.held_out()) == (3 if duplicates == "drop" else 6)
    held = set(examples.group[examples.held_out()].tolist())
    assert not held & set(examples.group[examples.members()].tolist())
    assert (examples.shard[examples.held_out()] == -1).all()
    assert (examples.shard[examples.members()] >= 0).all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("duplicates", ["same_shard", "drop"])
def test_what_is_watched_is_neither_trained_on_nor_held_out(
    tmp_path: Path, seed: int, duplicates: str
) -> None:
    """A third part, as whole groups of duplicates, that takes nothing from those held out."""
    shown = pictures(90)
    folder = save_set(tmp_path / "set", [*shown, *shown[:30]])
    how: dict[str, Any] = {"duplicates": duplicates, "held_out_fraction": 0.2, "seed": seed}
    plain = prepared(folder, **how).examples
    found = prepared(folder, **how, watch_fraction=0.3).examples
    assert np.array_equal(found.held_out(), plain.held_out())
    parts = [found.held_out(), found.watched(), found.members()]
    groups = [set(found.group[part].tolist()) for part in parts]
    assert len(set.union(*groups)) == sum(map(len, groups)) == 90
    kept = sum(map(len, parts))
    assert kept == (90 if duplicates == "drop" else 120)
    assert abs(len(found.watched()) - 0.3 * kept) <= 2
    assert (found.shard[found.watched()] == -1).all()
    assert not len(plain.watched())


def test_a_tenth_is_held_out_by_default_from_a_hundred_pictures_up(tmp_path: Path) -> None:
    for count, held in ((99, 0), (100, 10)):
        examples = prepared(save_set(tmp_path / str(count), pictures(count))).examples
        assert len(examples.held_out()) == held
        assert len(examples.members()) == count - held


# Captions


def test_empty_captions_are_counted(tmp_path: Path, twelve: list[Pixels]) -> None:
    captions = ["a", None, "", "  ", *"efghijkl"]
    found = prepared(save_set(tmp_path / "set", twelve, text=captions))
    assert found.empty_captions == 3
    assert any("3 are empty" in line for line in found.lines())


def test_a_single_empty_caption_is(tmp_path: Path, twelve: list[Pixels]) -> None:
    found = prepared(save_set(tmp_path / "set", twelve, text=["", *"abcdefghijk"]))
    assert any("1 is empty" in line for line in found.lines())


def test_without_captions_none_are_counted(dataset: Path) -> None:
    found = prepared(dataset)
    assert found.empty_captions is None
    assert not any("captions" in line for line in found.lines())


# Going on with the same dataset


def test_the_same_dataset_is_accepted(tmp_path: Path, twelve: list[Pixels], dataset: Path) -> None:
    examples = prepared(dataset).examples
    require_same_dataset(examples, open_source(SourceSettings.of(settings(dataset))))
    # The same pictures as other files are the same dataset.
    other = save_set(tmp_path / "other", [encode(pixels, "BMP") for pixels in twelve])
    require_same_dataset(examples, open_source(SourceSettings.of(settings(other))))


def test_rows_left_out_as_bad_are_not_looked_at(tmp_path: Path) -> None:
    dataset = with_bad_ones(tmp_path / "set", [3, 4])
    examples = prepared(dataset, skip_bad_images=True).examples
    require_same_dataset(examples, open_source(SourceSettings.of(settings(dataset))))


@pytest.mark.parametrize("change", ["a changed picture", "a broken picture", "a shorter set"])
def test_another_dataset_is_refused(
    tmp_path: Path, twelve: list[Pixels], dataset: Path, change: str
) -> None:
    stored: list[Pixels | bytes] = [*twelve]
    if change == "a changed picture":
        stored[5] = np.bitwise_xor(twelve[5], 1, dtype=np.uint8)
    elif change == "a broken picture":
        stored[5] = b"broken"
    else:
        stored.pop()
    other = save_set(tmp_path / "other", stored)
    with pytest.raises(UserError, match="not the one that this run was started with"):
        require_same_dataset(
            prepared(dataset).examples, open_source(SourceSettings.of(settings(other)))
        )


def test_a_row_of_the_table_is_the_row_of_the_source(dataset: Path, twelve: list[Pixels]) -> None:
    config = settings(dataset, max_train_samples=8, seed=3)
    source = open_source(SourceSettings.of(config))
    examples = scan(config, source).examples
    assert len(examples) == 8
    for row in examples.row.tolist():
        pixels = np.asarray(open_image(source.picture(row)))
        assert any(np.array_equal(pixels, known) for known in twelve)


@pytest.mark.process
def test_scanning_the_digits_imports_nothing_large(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from memshield.config.file import make_config; "
        "from memshield.data.scan import scan; "
        "from memshield.data.source import SourceSettings, open_source; "
        "config = make_config({'dataset_name': 'sklearn:digits', "
        "'model_config_name_or_path': 'configs/models/digits-unet.json', 'output_dir': 'x'}); "
        "scan(config, open_source(SourceSettings.of(config))).examples.write(Path(sys.argv[1])); "
        "large = {'torch', 'datasets', 'pandas', 'sklearn', 'matplotlib'} & set(sys.modules); "
        "sys.exit(str(large) if large else 0)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "examples.parquet")]
    subprocess.run(command, cwd=ROOT, check=True)
