"""Duplicates as pairs."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from memshield.forecast.duplicates import find_duplicates, open_folder
from tests.ui.repos import picture, pictures


def test_exact_and_near_ones(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "set", [1, 2, 3, 4, 1], size=64)
    picture(2, 64).resize((48, 48)).save(folder / "100.png")
    (folder / "101.png").write_bytes(b"no picture")
    found = find_duplicates(open_folder(folder), side=32)
    kinds = {pair.rows: pair.kind for pair in found.shown}
    assert kinds == {(0, 4): "exact", (1, 5): "near"}
    exact, near = found.shown
    assert exact.distance == 0 < near.distance < 0.03
    assert all(image.mode == "RGB" and max(image.size) == 32 for image in near.images)
    assert (found.groups, found.pictures, found.compared) == (2, 4, 6)
    assert (found.rows, found.unreadable, found.complete) == (7, (6,), True)
    assert find_duplicates(open_folder(folder), 0).groups == 1


def test_mirror_images_are_found_where_they_count(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "set", [1, 2, 3, 1], size=64)
    turned = picture(2, 64).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    turned.save(folder / "100.png")
    found = find_duplicates(open_folder(folder), mirrored=True)
    assert {pair.rows: pair.kind for pair in found.shown} == {(0, 3): "exact", (1, 4): "mirrored"}
    assert found.shown[1].distance == 0
    assert len(find_duplicates(open_folder(folder)).shown) == 1


def test_every_group_is_shown_before_a_second_pair_of_any(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "set", [1] * 30 + [2, 2, 3, 3])
    found = find_duplicates(open_folder(folder), most_pairs=4)
    assert [pair.rows for pair in found.shown] == [(0, 1), (30, 31), (32, 33), (0, 2)]
    assert (found.groups, found.pictures) == (3, 34)


def test_bounds(tmp_path: Path) -> None:
    source = open_folder(pictures(tmp_path / "set", range(70)))
    few = find_duplicates(source, most_pictures=40)
    assert (few.compared, few.rows, few.complete, few.shown) == (40, 70, False, ())
    hasty = find_duplicates(source, seconds=-1)
    assert (hasty.compared, hasty.complete) == (1, False)


def test_only_broken_ones(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no picture")
    found = find_duplicates(open_folder(folder))
    assert (found.shown, found.unreadable, found.complete) == ((), (0,), True)


def test_a_file_that_goes_in_between_is_grey(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "set", [1, 1])
    source = open_folder(folder)
    taken = 0

    class Vanishing:
        def __len__(self) -> int:
            return 2

        def pictures(self, rows: list[int]) -> list[object]:
            return source.pictures(rows)

        def picture(self, row: int) -> object:
            nonlocal taken
            taken += 1
            return source.picture(row) if taken == 1 else tmp_path / "gone.png"

    (pair,) = find_duplicates(Vanishing()).shown  # type: ignore[arg-type]
    assert isinstance(pair.images[1], Image.Image)
    assert pair.images[1].getpixel((0, 0)) == (211, 211, 211)
