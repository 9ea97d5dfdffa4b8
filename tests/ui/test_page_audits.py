"""An audit of a model that was trained elsewhere, on the page at home, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.hub_server import HubServer
from tests.tiny import ddpm_pipeline, image_folder
from tests.ui.pages import Visit
from tests.ui.servers import Running, end_tasks, home_environment, serving, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Running]:
    grey = image_folder(tmp_path / "grey", 150, 8, captions=False, channels=1)
    with HubServer() as hub:
        hub.add_user("lab", "hf_" + "l" * 34)
        hub.add_repo("model", "lab/ddpm", ddpm_pipeline(tmp_path / "ddpm"))
        hub.add_repo("dataset", "lab/grey", grey)
        with serving(tmp_path, home_environment(tmp_path, hub.endpoint)) as running:
            yield running
    end_tasks(tmp_path / "data")


@pytest.mark.browser
@pytest.mark.slow
def test_a_model_of_the_hub_is_audited_and_its_report_kept(browser: Browser, home: Running) -> None:
    visit = Visit(browser, home.url)
    visit.tab("Audits")
    visit.press("Start the audit")
    visit.sees("2 things to fix", "#audit-asked")
    visit.fill("Model to audit", "lab/nothing")
    visit.fill("Training dataset", "lab/ddpm")
    visit.page.get_by_label("A share of the same dataset").click()
    visit.fill("Percent held out", "45")
    visit.page.get_by_role("button", name="Prompts and number of pictures").click()
    visit.fill("Pictures to generate", "10")
    visit.press("Start the audit")
    visit.sees("lab/nothing is not on the Hub", "#problem-audit-model")
    visit.sees("lab/ddpm is a model, not a dataset", "#problem-audit-dataset")
    visit.fill("Model to audit", "lab/ddpm")
    visit.fill("Training dataset", "lab/grey")
    visit.press("Start the audit")
    visit.sees("It is queued", "#audit-asked")
    # It is the server's: it goes on without a page, and the next page shows it.
    visit.close()
    visit = Visit(browser, home.url)
    visit.tab("Audits")
    visit.sees("What the audit found", "#audit-result")
    assert {"Copies", "Quality"} <= set(visit.text("#audit-result").split("\n"))
    visit.sees("Training pictures at risk", "#audit-risk")
    visit.shoot("audits-done")
    with visit.page.expect_download() as kept:
        visit.page.get_by_text("Download report.html").click()
    page = Path(kept.value.path()).read_text()
    assert "Memorization audit of lab/ddpm" in page
    visit.page.set_viewport_size({"width": 390, "height": 844})
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
    visit.shoot("audits-narrow")
    visit.press("Delete")
    visit.press("Delete this audit with its report and pictures")
    visit.sees("No audits yet", "#audit-state")
    until(lambda: not list(home.data.glob("jobs/*/results")))
    assert visit.problems == []
    visit.close()
