"""Duplicates as small pictures in the run directory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from memshield.config.file import make_config
from memshield.data.duplicate_pairs import MOST, SIDE, pairs_in_turn, read_pairs, write_pairs
from memshield.data.examples import Examples
from memshield.data.scan import scan
from memshield.data.source import Source, SourceSettings, open_source
from memshield.rundir import RunDir
from memshield.runs.progress import read_progress
from memshield.ui.runs.pictures import scan_view
from tests.tiny import unet_config
from tests.trained_runs import digits, train
from tests.ui.markup import text_of
from tests.ui.repos import pictures


def scanned(folder: Path, **settings: object) -> tuple[Source, Examples]:
    config = make_config({
        "train_data_dir": str(folder), "model_config_name_or_path": "x", "num_shards": 2,
        "train_batch_size": 1, **settings,
    })  # fmt: skip
    source = open_source(SourceSettings.of(config))
    return source, scan(config, source).examples


def test_one_pair_of_every_group_before_the_second_of_any() -> None:
    groups = np.array([0, 1, 0, 2, 1, 0, 3, 1])
    assert list(pairs_in_turn(groups)) == [(0, 2), (1, 4), (0, 5), (1, 7)]
    assert list(pairs_in_turn(np.arange(5))) == []


def test_pairs_are_those_pictures(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "set", [*range(30), 4, 9], size=200)
    # Nearly the same: a pixel is another.
    image = Image.open(folder / "002.png").convert("RGB")
    image.putpixel((0, 0), (255, 255, 255))
    image.save(folder / "100.png")
    source, examples = scanned(folder)
    write_pairs(tmp_path / "duplicates", source, examples)
    found = read_pairs(tmp_path / "duplicates")
    assert sorted(one.equal for one in found) == [False, True, True]
    for one in found:
        first, second = (np.asarray(Image.open(path), float) for path in (one.first, one.second))
        assert first.shape == second.shape == (SIDE, SIDE, 3)
        apart = np.abs(first - second).max()
        assert apart == 0 if one.equal else apart > 0


def test_no_folder_without_duplicates_and_no_more_than_fit(tmp_path: Path) -> None:
    source, examples = scanned(pictures(tmp_path / "set", range(30), size=16))
    write_pairs(tmp_path / "none", source, examples)
    assert not (tmp_path / "none").exists()
    assert read_pairs(tmp_path / "none") == []
    twice = pictures(tmp_path / "twice", [*range(40), *range(40)], size=16)
    source, examples = scanned(twice)
    write_pairs(tmp_path / "many", source, examples)
    assert len(read_pairs(tmp_path / "many")) == MOST


def test_a_run_shows_them(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "set", [*range(30), 4], size=16)
    settings = digits(tmp_path / "run", unet_config(tmp_path, channels=3), max_train_steps=6)
    del settings["dataset_name"]
    run = RunDir(tmp_path / "run")
    assert scan_view(read_progress(run), run) == ""
    train(**settings, train_data_dir=folder)
    shown = scan_view(read_progress(run), run)
    assert shown.count("<img") == 2
    assert "equal pixel by pixel" in shown
    assert "1 group of equal and 0 of nearly equal pictures (2 pictures)" in text_of(shown)
    # What cannot be read is left out.
    read_pairs(run.duplicates)[0].second.write_bytes(b"")
    assert "<img" not in scan_view(read_progress(run), run)
