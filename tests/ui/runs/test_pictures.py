"""Sample grids, and pictures as part of the text."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path

import pytest
from PIL import Image

from memshield.ui.runs.pictures import MOST_EARLIER, samples_view
from memshield.ui.widgets import pictures
from memshield.ui.widgets.pictures import picture_in, picture_of
from tests.ui.made_runs import HOSTILE, made_run, picture, save_grid
from tests.ui.markup import shows_hostile, text_of


def image_of(uri: str) -> Image.Image:
    head, data = uri.split(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_no_grid_yet(tmp_path: Path) -> None:
    assert "No samples yet" in text_of(samples_view(made_run(tmp_path / "run")))


def test_the_newest_is_large_and_the_others_follow(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    for number in (1, 2, 10):
        save_grid(run, number)
    (run.samples / "round-x.png").write_bytes(b"")
    html = samples_view(run)
    text = text_of(html)
    assert "After round 10" in text
    assert text.index("round 2") < text.index("round 1 ") if "round 1 " in text else True
    assert html.count("<img") == 3


def test_very_many_rounds_are_cut(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    for number in range(1, MOST_EARLIER + 5):
        save_grid(run, number)
    html = samples_view(run)
    assert html.count("<img") == MOST_EARLIER + 1
    assert "3 rounds before these" in text_of(html)


def test_a_grid_that_is_torn_is_left_out(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    save_grid(run, 1)
    torn = save_grid(run, 2)
    torn.write_bytes(torn.read_bytes()[:2000])
    assert "After round 1" in text_of(samples_view(run))


def test_prompts_are_shown_as_text(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    save_grid(run, 1)
    assert shows_hostile(samples_view(run, ["a cat", HOSTILE]))


def test_large_pictures_are_scaled_down_and_small_ones_enlarged_when_shown() -> None:
    large = picture_of(Image.new("RGB", (2000, 1000), "red"), 500)
    assert (large.width, large.height) == (500, 250)
    assert image_of(large.uri).size == (500, 250)
    small = picture_of(Image.new("L", (8, 8), 7), 192)
    assert (small.width, small.height) == (32, 32)
    assert image_of(small.uri).size == (8, 8)
    assert picture_of(Image.new("P", (3000, 1)), 100).height == 1


def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_grid(made_run(tmp_path / "run"), 1)
    first = picture_in(path, 64)
    opened = []
    monkeypatch.setattr(pictures, "_opened", lambda *words: opened.append(words))
    assert picture_in(path, 64) is first
    assert opened == []
    os.utime(path, ns=(1, 1))
    picture_in(path, 64)
    assert len(opened) == 1


def test_the_memory_of_pictures_is_bounded(tmp_path: Path) -> None:
    cache = pictures._Cache(6000)
    for number in range(20):
        path = tmp_path / f"{number}.png"
        picture(number).save(path)
        assert cache.of(path, 64) is not None
    assert 1 <= len(cache._pictures) < 20
    assert cache._held == sum(len(one.uri) for one in cache._pictures.values()) <= 6000


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"<svg xmlns='http://www.w3.org/2000/svg'/>"])
def test_what_is_no_picture_is_none(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(data)
    assert picture_in(path, 64) is None
    assert picture_in(tmp_path / "missing.png", 64) is None


def test_the_same_picture_gives_the_same_bytes() -> None:
    assert picture_of(picture(1), 48) == picture_of(picture(1), 48)
