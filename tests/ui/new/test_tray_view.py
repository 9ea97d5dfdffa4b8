"""What the tray shows."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from memshield.forecast.duplicates import find_duplicates, open_folder
from memshield.ui.new.tray_view import (
    PAGE,
    Showing,
    added_view,
    chosen,
    head_view,
    notes_of,
    pictures_view,
    show,
    tray_pairs,
    within,
)
from memshield.ui.new.uploads.adding import Added, add_files
from memshield.ui.new.uploads.tray import Tray, TrayPicture
from tests.ui.markup import text_of
from tests.ui.repos import picture, pictures


@pytest.fixture
def tray(tmp_path: Path) -> Tray:
    """Of 30 pictures, a small one, an animation, and a picture equal to the first."""
    folder = pictures(tmp_path / "set", range(30), size=64)
    picture(50, 16).save(folder / "small.png")
    frames = [picture(51, 64), picture(52, 64)]
    frames[0].save(folder / "waving.webp", save_all=True, append_images=frames[1:])
    picture(0, 64).save(folder / "twin'.png")
    # Cameras store a preview as another frame of a JPEG.
    frames[0].save(folder / "camera.jpg", "MPO", save_all=True, append_images=frames[1:])
    add_files(sorted(folder.iterdir()), tmp_path / "ada")
    return Tray(tmp_path / "ada")


def test_what_to_know_of_pictures(tray: Tray) -> None:
    held = tray.pictures()
    names = {one.id: one.name for one in held}
    assert {names[id]: words for id, words in notes_of(held).items()} == {
        "small.png": ["16 × 16 px"],
        "twin'.png": ["copy of 000.png"],
        "waving.webp": ["first frame only"],
    }
    said = text_of(head_view(held, Showing()))
    assert said.startswith("34 pictures no captions")
    for words in ("1 picture is under 32 px: small.png (16 × 16)", "1 exact copy: twin'.png is 000",
                  "Leave out the copy", "With notes 3", "Remove all 34 pictures"):  # fmt: skip
        assert words in said
    assert "Without caption" not in said
    tray.describe({held[0].id: "one"})
    said = text_of(head_view(tray.pictures(), Showing("bare")))
    assert "1 with captions" in said and "Without caption 33" in said
    assert head_view([], Showing()) == pictures_view(tray, [], Showing()) == ""


def test_pages(tray: Tray) -> None:
    held = tray.pictures()
    tray.describe({held[0].id: "</textarea><script>"})
    held = tray.pictures()
    first = pictures_view(tray, held, Showing())
    assert first.count("<li>") == first.count("data:image/webp") == PAGE
    assert "1 to 24 of 34" in text_of(first) and "</textarea><script>" not in first
    second = pictures_view(tray, held, Showing(page=1))
    assert second.count("<li>") == 10 and "25 to 34 of 34" in text_of(second)
    assert within(held, Showing(page=7)) == Showing(page=1)
    assert within(held, Showing("noted", 7)) == Showing("noted", 0)
    assert within(held[:1], Showing("bare", 1)) == Showing()
    assert len(chosen(held, Showing("bare"))) == 33
    assert show("noted") == Showing("noted") and show(["all"]) is show("else") is None
    # Its thumbnail may be gone since the list was read.
    tray.remove([held[0].id])
    assert pictures_view(tray, held, Showing()).count("data:image/webp") == PAGE - 1


def test_a_thousand_pictures_are_as_quick_as_a_page(tray: Tray) -> None:
    one = tray.pictures()[0]
    many = [replace(one, file=f"{i:06d}.png", sha256=str(i)) for i in range(1000)]
    begun = time.process_time()
    head_view(many, Showing())
    html = pictures_view(tray, many, Showing(page=20))
    assert time.process_time() - begun < 1
    assert html.count("<li>") == PAGE and "481 to 504 of 1,000" in text_of(html)


def test_duplicates_are_those_that_decoding_finds(tray: Tray, tmp_path: Path) -> None:
    Image.open(tmp_path / "set" / "001.png").save(tmp_path / "near.jpg", quality=80)
    add_files([tmp_path / "near.jpg"], tmp_path / "ada")
    quick = tray_pairs(tray, tray.pictures(), mirrored=False)
    slow = find_duplicates(open_folder(tray.for_plan()))
    # The animation and the camera's picture begin with the same frame.
    assert [(one.kind, one.rows) for one in quick.shown] == [(p.kind, p.rows) for p in slow.shown]
    assert len(quick.shown) == 3 and quick.complete
    assert (quick.groups, quick.pictures) == (slow.groups, slow.pictures)
    assert tray_pairs(tray, [], mirrored=False).shown == ()


def test_what_became_of_an_upload() -> None:
    left = ("notes.png is not a picture", "truncated.jpg is cut off")
    assert text_of(added_view(Added(80, 0, 0, left))) == (
        "80 pictures added, 2 left out: notes.png is not a picture, truncated.jpg is cut off."
    )
    assert text_of(added_view(Added(1, 5, 3, ()))) == (
        "1 picture added, 5 in the tray already, captions or classes of 3 pictures read."
    )
    many = added_view(Added(0, 1, 0, tuple(f"{i}.txt is not a picture" for i in range(5000))))
    assert "5,000 left out" in text_of(many) and many.count("<li>") == 196


def test_a_picture_that_cannot_be_named_by_html(tray: Tray) -> None:
    odd = TrayPicture("000001.png", '"><img src=x>', 64, 64, False, 1, "a", label="<i>")
    html = pictures_view(tray, [odd], Showing()) + head_view([odd], Showing())
    assert "<img src=x>" not in html and "<i>" not in html
