"""The tray: what is changed in it, and what a training takes from it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from memshield.errors import UserError
from memshield.forecast.duplicates import open_folder
from memshield.ui.new.uploads.adding import add_files
from memshield.ui.new.uploads.tray import Tray, copies
from tests.ui.repos import pictures


@pytest.fixture
def tray(tmp_path: Path) -> Tray:
    """Of five pictures, the last two of which are equal to the first."""
    folder = pictures(tmp_path / "set", [0, 1, 2, 0, 0], size=16)
    add_files(sorted(folder.iterdir()), tmp_path / "ada")
    return Tray(tmp_path / "ada")


def test_what_is_removed_is_gone_and_its_id_is_not_used_again(tray: Tray, tmp_path: Path) -> None:
    second = tray.pictures()[1]
    before = tray.for_plan()
    assert [one.name for one in tray.remove([second.id, "999999"])] == ["001.png"]
    assert tray.remove([second.id]) == []
    files = [path.name for path in (tmp_path / "ada").rglob("*") if path.is_file()]
    assert not any(name.startswith(second.id) for name in files)
    assert not before.exists() and len(open_folder(tray.for_plan())) == 4
    assert tray.for_plan().name not in ("", before.name)
    tray.remove(one.id for one in tray.pictures())
    assert tray.pictures() == [] and tray.name() == ""
    assert [path.name for path in (tmp_path / "ada").rglob("*") if path.is_file()] == ["tray.json"]
    add_files([tmp_path / "set" / "001.png"], tmp_path / "ada")
    (again,) = tray.pictures()
    assert int(again.id) == 5


def test_captions_are_changed_by_id(tray: Tray) -> None:
    first, second, third, *_ = tray.pictures()
    said = {first.id: " a\r\nb \x00\ud800", second.id: "", third.id: "x" * 4001, "77": "none"}
    with pytest.raises(UserError, match=r"002\.png: the caption is longer than 4000"):
        tray.describe(said)
    assert [one.caption for one in tray.pictures()[:3]] == ["a\nb", "", ""]
    assert tray.describe({first.id: "a\nb"}) == []
    assert open_folder(tray.for_plan()).captions() == ["a\nb", "", "", "", ""]
    # Without any, training is not told of captions.
    tray.describe({first.id: ""})
    assert open_folder(tray.for_plan()).captions() is None


def test_a_training_keeps_the_pictures_that_it_was_started_with(tray: Tray, tmp_path: Path) -> None:
    tray.describe({tray.pictures()[0].id: "before"})
    taken = tray.for_training()
    assert tray.for_training() == taken
    tray.describe({tray.pictures()[0].id: "after"})
    tray.remove([tray.pictures()[1].id])
    assert len(open_folder(taken)) == 5
    assert (open_folder(taken).captions() or [])[0] == "before"
    other = tray.for_training()
    assert other != taken and len(open_folder(other)) == 4
    assert taken.parent == other.parent == tmp_path / "ada"
    shutil.rmtree(tmp_path / "ada")
    with pytest.raises(UserError, match="not here any more"):
        tray.for_training()


def test_a_disk_without_links_holds_a_training_too(
    tray: Tray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*paths: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr("os.link", refuse)
    assert len(open_folder(tray.for_training())) == 5


def test_copies_name_the_first_of_their_pixels(tray: Tray) -> None:
    found = copies(tray.pictures())
    assert [tray.pictures()[int(id)].name for id in found] == ["003.png", "004.png"]
    assert {one.name for one in found.values()} == {"000.png"}
    tray.remove(found)
    assert [one.name for one in tray.pictures()] == ["000.png", "001.png", "002.png"]
