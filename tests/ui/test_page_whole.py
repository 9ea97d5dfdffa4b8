"""The whole way at home, in a real browser: own pictures, training, audit, drawing, publishing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.hub.conftest import CARD, TOKEN, fill
from tests.hub_server import HubServer
from tests.tiny import image_folder, sd_pipeline
from tests.ui.pages import Visit
from tests.ui.repos import pictures
from tests.ui.servers import Running, end_tasks, home_environment, serving, until
from tests.ui.test_page_space import small
from tests.ui.test_page_tray import drop, odd_pictures

if TYPE_CHECKING:
    from playwright.sync_api import Browser

WAIT = 240.0


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    base = sd_pipeline(tmp_path / "sd")
    (base / "README.md").write_text(CARD.format(license="mit"))
    with HubServer() as server:
        fill(server, base, image_folder(tmp_path / "others", 4))
        yield server


@pytest.fixture
def home(hub: HubServer, tmp_path: Path) -> Iterator[Running]:
    """The page of somebody whose machine has no token."""
    with serving(tmp_path, home_environment(tmp_path, hub.endpoint)) as running:
        yield running
    end_tasks(tmp_path / "data")


def captioned(folder: Path, count: int) -> list[Path]:
    """Pictures, each with its caption in a text file beside it."""
    for picture in list(pictures(folder, range(count), size=64).iterdir()):
        picture.with_suffix(".txt").write_text(f"a square called {picture.stem}")
    return sorted(folder.iterdir())


@pytest.mark.browser
@pytest.mark.slow
def test_from_own_pictures_with_bad_ones_among_them_to_a_verified_model(
    browser: Browser, home: Running, hub: HubServer, tmp_path: Path
) -> None:
    visit = Visit(browser, home.url, hub.endpoint)
    page = visit.page
    page.get_by_label("A model from the Hub").check()
    visit.fill("Model", "tiny-sd")
    visit.press("Search models")
    page.get_by_label("lab/tiny-sd").check()
    visit.sees("StableDiffusionPipeline")
    page.get_by_label("Pictures that you upload", exact=True).check()
    drop(visit, *captioned(tmp_path / "set", 120))
    visit.sees("120 pictures", "#uploaded")
    drop(visit, *odd_pictures(tmp_path / "odd"))
    said = visit.sees("2 left out", "#tray-said").inner_text()
    assert "notes.png is not a picture, truncated.jpg is cut off" in said
    small(visit)
    visit.fill("num inference steps", "4")
    visit.press("Start training")
    visit.sees("The model is ready", "#state", WAIT)

    visit.press("Look for copies")
    visit.fill("Pictures to generate", "20")
    visit.press("Audit")
    (run,) = home.runs()
    until((run / "audit" / "model" / "report.json").is_file, WAIT)
    visit.sees("Copies", "#audit")
    visit.sees("Quality", "#audit")
    visit.shoot("whole-audit")

    visit.press("Draw pictures")
    visit.sees("trained on", "#known")
    visit.fill("Prompts", "a square")
    visit.fill("Pictures", "1")
    visit.unfold("Steps and seed")
    visit.fill("Steps", "2")
    visit.press("Generate")
    until(lambda: page.locator("#pictures img").count() >= 1, WAIT)

    visit.tab("Runs")
    visit.tab("Publish")
    visit.fill("Repository", "ada/whole")
    visit.unfold("Hugging Face account")
    visit.fill("Access token", TOKEN)
    visit.press("Use this token")
    visit.press("Preview")
    visit.sees("memshield.json", "#preview")
    visit.press("Publish")
    until(lambda: hub.exists("model", "ada/whole") and hub.tags("model", "ada/whole"), WAIT)
    visit.sees("ada/whole", "#publication")
    visit.shoot("whole-published")

    visit.tab("Use a model")
    page.get_by_label("A published model").check()
    visit.fill("Published model", "ada/whole")
    visit.press("Verify")
    visit.sees("Its files and claims are consistent", "#checks")
    assert visit.problems == [], "\n".join(visit.problems)
    visit.close()
    # The token was in memory and nowhere else.
    assert TOKEN not in home.said
    written = [file for file in home.data.rglob("*") if file.is_file()]
    assert written
    assert [file for file in written if TOKEN.encode() in file.read_bytes()] == []
