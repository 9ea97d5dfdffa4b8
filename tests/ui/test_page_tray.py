"""The picture tray in a real browser."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.ui.axe import violations
from tests.ui.pages import Visit
from tests.ui.repos import picture, pictures
from tests.ui.servers import Running, end_tasks, home_environment, serving, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser

_PRESS_BOTH = """
async (names) => {
  for (const name of names) {
    document.querySelector(`[aria-label="${name}"]`).click();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("home")
    with serving(folder, home_environment(folder)) as running:
        yield running
    end_tasks(folder / "data")


def open_tray(visit: Visit) -> None:
    for what in ("A new small model, from scratch", "Pictures that you upload"):
        visit.page.get_by_label(what, exact=True).check()


def drop(visit: Visit, *files: Path) -> None:
    """Add files, and wait until the box is empty again."""
    visit.page.locator("#field-upload input[type=file]").set_input_files([str(f) for f in files])
    until(lambda: visit.page.locator("#field-upload").get_by_text("Drop File").count() == 1)


def odd_pictures(folder: Path) -> list[Path]:
    """A small one, an animation, a copy, one that is cut off, and one that is none."""
    folder.mkdir()
    picture(90, 16).save(folder / "small.png")
    frames = [picture(91, 64), picture(92, 64)]
    frames[0].save(folder / "waving.gif", save_all=True, append_images=frames[1:])
    picture(1, 64).save(folder / "again.png")
    content = io.BytesIO()
    picture(93, 256).save(content, "JPEG")
    (folder / "truncated.jpg").write_bytes(content.getvalue()[:900])
    (folder / "notes.png").write_text("no picture")
    return sorted(folder.iterdir())


@pytest.mark.slow
def test_pictures_add_up_and_start_as_they_are(
    browser: Browser, home: Running, tmp_path: Path
) -> None:
    visit = Visit(browser, home.url)
    page = visit.page
    open_tray(visit)
    (tmp_path / "notes.txt").write_text("no picture")
    drop(visit, tmp_path / "notes.txt")
    visit.sees("notes.txt is not a picture", "#problem-upload")
    first = sorted(pictures(tmp_path / "set", range(40), size=64).iterdir())
    drop(visit, *first)
    visit.sees("40 pictures", "#uploaded")
    page.locator("#problem-upload .ms-alarm").wait_for(state="hidden")
    visit.sees("No duplicates", "#upload-pairs")
    assert [file for file in home.received.rglob("*") if file.is_file()] == []

    drop(visit, *odd_pictures(tmp_path / "odd"), first[0])
    said = visit.sees("3 pictures added, 1 in the tray already, 2 left out", "#tray-said")
    assert said.inner_text().endswith(
        "left out: notes.png is not a picture, truncated.jpg is cut off."
    )
    visit.sees("43 pictures", "#uploaded")
    for words in ("small.png (16 × 16)", "waving.gif", "again.png is 001.png"):
        visit.sees(words, "#uploaded")
    visit.sees("1 pair of training pictures", "#upload-pairs")
    visit.shoot("tray")
    assert violations(page, "#field-upload") == []
    assert violations(page, "#uploaded") == violations(page, "#tray") == []

    # By keyboard: the caption is kept as soon as its box is left.
    caption = "größer {{1}} ${1+1} <b>"
    page.get_by_label("Caption of 000.png").fill(caption)
    page.keyboard.press("Tab")
    visit.sees("Caption of 000.png saved", "#tray-said")
    visit.sees("1 with captions", "#uploaded")
    page.get_by_label("Remove 002.png").focus()
    page.keyboard.press("Enter")
    visit.sees("42 pictures", "#uploaded")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Remove 003.png"
    visit.press("Leave out the copy")
    visit.sees("41 pictures", "#uploaded")
    visit.sees("No duplicates", "#upload-pairs")
    # What is pressed before the last press was answered counts as well.
    page.evaluate(_PRESS_BOTH, ["Remove 010.png", "Remove 011.png"])
    visit.sees("39 pictures", "#uploaded")
    visit.press("Next")
    visit.sees("25 to 39 of 39", "#tray")
    page.get_by_label("Caption of waving.gif").fill("it waves")
    visit.press("With notes 2")
    page.get_by_label("Remove small.png").click()
    visit.sees("38 pictures", "#uploaded")
    assert page.get_by_label("Caption of waving.gif").input_value() == "it waves"

    # The tray outlives the page, and fits a phone.
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 390, "height": 800})
    visit.go()
    open_tray(visit)
    visit.sees("38 pictures", "#uploaded")
    assert page.get_by_label("Caption of 000.png").input_value() == caption
    assert violations(page, "#uploaded") == violations(page, "#tray") == []
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    visit.press("See what will happen")
    visit.sees("pictures to train on", "#plan")
    visit.press("Start training")
    (job,) = until(lambda: list((home.data / "jobs").glob("*/settings.yaml")))
    (taken,) = (folder for folder in home.data.glob("uploads/*/*") if folder.name != "tray")
    assert str(taken) in job.read_text()
    rows = [json.loads(line) for line in (taken / "metadata.jsonl").read_text().splitlines()]
    assert len(rows) == 38 and all((taken / row["file_name"]).is_file() for row in rows)
    assert len([file for file in taken.iterdir() if file.name != "metadata.jsonl"]) == 38
    assert [row["text"] for row in rows if row["text"]] == [caption, "it waves"]
    assert "größer" not in home.said and "it waves" not in home.said

    # What is removed now stays with the training.
    page.get_by_role("tab", name="Runs", selected=True).wait_for()
    visit.tab("New training")
    visit.page.get_by_text("Remove all", exact=True).click()
    visit.press("Remove all 38 pictures")
    page.locator("#uploaded").get_by_text("pictures").first.wait_for(state="hidden")
    assert len(list(taken.iterdir())) == 39
    assert visit.problems == []
    visit.close()
