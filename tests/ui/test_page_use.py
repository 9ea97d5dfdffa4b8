"""A published model on the page at home, in a real browser: verified, drawn from, and told of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.hub.conftest import TOKEN
from tests.hub.conftest import hub as hub
from tests.hub_server import HubServer
from tests.planted import plant, run_with_a_grey_picture
from tests.ui.pages import Visit
from tests.ui.published import own_run, publish_run
from tests.ui.servers import Running, end_tasks, home_environment, serving, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture
def home(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """The page of somebody who has published a model that gives a training picture back."""
    run = run_with_a_grey_picture(tmp_path / "grey")
    plant(run.model)
    published = own_run(tmp_path / "data", run.path, name="portraits")
    publish_run(published, "ada/portraits", hub_confirm=["no_audit"])
    environment = home_environment(tmp_path, hub.endpoint) | {"HF_TOKEN": TOKEN}
    with serving(tmp_path, environment) as running:
        yield running
    end_tasks(tmp_path / "data")


@pytest.mark.browser
@pytest.mark.slow
def test_a_published_model_is_verified_and_drawn_from(browser: Browser, home: Running) -> None:
    visit = Visit(browser, home.url)
    visit.tab("Use a model")
    # Their own run draws without being published.
    visit.sees("pictures", "#known")
    visit.shoot("use-run")
    visit.fill("Pictures", "1")
    visit.press("Generate")
    visit.sees("1 picture of portraits", "#drawing")
    visit.sees("is a near-copy of what your run portraits was", "#pictures")
    visit.page.get_by_label("A published model").check()
    visit.sees("No model yet", "#checks")
    visit.shoot("use-empty")
    for name, words in (
        ("", "is empty"),
        ("../x", "is no id on the Hub"),
        ("nobody/nothing", "is not on the Hub or not readable"),
        ("lab/tiny-sd", "It was not published by MemShield"),
    ):
        visit.fill("Published model", name)
        visit.press("Verify")
        visit.sees(words, "#checks")
    visit.shoot("use-wrong")
    assert not visit.page.locator("#draw").is_visible()

    visit.page.get_by_label("One of your published models").click()
    visit.page.get_by_role("option", name="ada/portraits").click()
    visit.sees("Its files and claims are consistent", "#checks")
    assert visit.value("Published model") == "ada/portraits"
    visit.sees("Not audited", "#known")
    visit.sees('DDIMPipeline.from_pretrained("ada/portraits")', "#code")
    visit.fill("Pictures", "99")
    visit.press("Generate")
    visit.sees("must be 1 to 16, is 99", "#wrong")

    # What is being drawn is stopped, and told so.
    visit.fill("Pictures", "3")
    visit.press("Generate")
    visit.page.locator("#stop-drawing").click()
    visit.sees("Stopped", "#drawing")

    visit.press("Generate")
    visit.sees("3 pictures of ada/portraits", "#drawing")
    # It is the server's: it goes on without a page, and the next page shows it.
    visit.close()
    visit = Visit(browser, home.url)
    visit.tab("Use a model")
    visit.sees("Done", "#drawing")
    visit.sees("3 of 3 pictures are near-copies of what your run portraits was", "#pictures")
    until(lambda: visit.page.locator("#pictures img").count() == 6)
    assert visit.text("#pictures").count("Near-copy of a training picture") == 3
    assert "a fixed rule is used" in visit.text("#pictures")
    visit.shoot("use-drawn")
    visit.page.set_viewport_size({"width": 390, "height": 844})
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
    visit.shoot("use-narrow")
    assert visit.problems == []
    visit.close()

    _ask_in_odd_ways(home)


def _ask_in_odd_ways(home: Running) -> None:
    """Values of any type to all handlers: answers, and no traceback of the tab's in the log."""
    rows: list[list[Any]] = [
        [], [None], [[]], [{"a": 1}], ["../x", None, None, None, None],
        [7, 7, "x", [], {}], ["ada/portraits", ["a"], True, 1e400, "0"],
    ]  # fmt: skip
    count = len(httpx2.get(f"{home.url}/config").json()["dependencies"])
    mark = len(home.said)
    headers = {"content-type": "application/json"}
    with httpx2.Client(base_url=f"{home.url}/gradio_api/", headers=headers, timeout=60) as script:
        for number in range(count):
            for data in rows:
                asked = {"fn_index": number, "data": data, "session_hash": "odd"}
                text = str(asked).replace("inf", "1e400").replace("'", '"')
                text = text.replace("None", "null").replace("True", "true")
                script.post("run/predict", content=text)
    said = home.said[mark:]
    assert "memshield/ui/use" not in said, said[-3000:]
