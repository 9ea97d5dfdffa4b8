"""Nobody is shut out: what axe-core knows of, on any tab in light and dark, and the keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import pytest

from tests.ui.axe import violations
from tests.ui.pages import Visit
from tests.ui.servers import Running, end_tasks, home_environment, serving, until
from tests.ui.test_page import LONG, tiny

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.slow]
COLOURS: dict[Literal["light", "dark"], str] = {
    "light": "!document.body.classList.contains('dark')",
    "dark": "document.body.classList.contains('dark')",
}
"""What holds of the page in them."""
RULES: dict[str, tuple[str, ...]] = {"light": (), "dark": ("color-contrast", "link-in-text-block")}
"""All in one of them; in the other, those that colours can break."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("home")
    with serving(folder, home_environment(folder)) as running:
        yield running
        end_tasks(running.data)


def train_and_audit(visit: Visit, home: Running) -> None:
    tiny(visit)
    visit.press("Start training")
    visit.sees("The model is ready", "#state", 240)
    assert home.state() == "done"
    visit.tab("Audit")
    visit.fill("Pictures to generate", "40")
    visit.press("Audit")
    until((home.runs()[0] / "audit" / "model" / "report.json").is_file, 240)
    visit.sees("generated pictures")
    visit.shoot("page-audited")


def test_no_tab_shuts_anybody_out(browser: Browser, home: Running) -> None:
    visit = Visit(browser, home.url)
    train_and_audit(visit, home)
    found: list[str] = []

    def look(place: str) -> None:
        for colours, holds in COLOURS.items():
            visit.page.emulate_media(color_scheme=colours)
            visit.page.wait_for_function(holds)
            said = violations(visit.page, grave=True, rules=RULES[colours])
            found.extend(f"{place}, {colours}: {one}" for one in said)

    visit.tab("New training")
    visit.press("See what will happen")
    visit.sees("pictures to train on", "#plan")
    visit.page.get_by_role("button", name="The settings as a file").click()
    look("new training")
    visit.open_advanced()
    visit.fill("Epochs", "-1")
    visit.press("Start training")
    visit.sees("thing to fix", "#problems")
    look("problems")
    visit.page.get_by_label("A model from the Hub").check()
    look("choosing")
    visit.tab("Runs")
    for tab in ("Progress", "Audit", "Log"):
        visit.tab(tab)
        look(tab)
    # The card, too, with no account and no network.
    visit.tab("Publish")
    visit.press("Preview")
    visit.sees("no token is set", "#preview")
    visit.sees("This is the card as it stands", "#preview")
    visit.sees("How much does it give back?", "#preview")
    visit.shoot("page-card")
    look("publish")
    assert list(home.runs()[0].parent.glob(".preview-*")) == []
    visit.tab("Audits")
    visit.press("Start the audit")
    visit.sees("2 things to fix", "#audit-asked")
    look("audits")
    visit.tab("Use a model")
    visit.page.locator("#own-run").wait_for()  # the run that was trained since the page was opened
    visit.page.get_by_label("A published model").check()
    visit.fill("Published model", "../x")
    visit.press("Verify")
    visit.sees("Published model: ")
    look("use")
    assert not found, "\n".join(found)
    assert visit.problems == []
    visit.close()


def reach(visit: Visit, name: str) -> None:
    """Press Tab until what is called so has the focus, and can be seen to have it."""
    focused = "document.activeElement"
    for _ in range(150):
        visit.page.keyboard.press("Tab")
        if visit.page.evaluate(f"{focused} !== document.body && {focused}.innerText") == name:
            break
    else:
        pytest.fail(f"{name} is not reached")
    outline = visit.page.evaluate(f"getComputedStyle({focused}).outlineStyle")
    assert outline == "solid", f"nobody sees that {name} has the focus"


def test_a_keyboard_is_enough(browser: Browser, home: Running) -> None:
    visit = Visit(browser, home.url)
    keyboard, before = visit.page.keyboard, len(home.runs())
    tiny(visit, LONG)
    visit.page.locator("body").press("Home")
    reach(visit, "See what will happen")
    keyboard.press("Enter")
    visit.sees("pictures to train on", "#plan")
    reach(visit, "Start training")
    keyboard.press("Enter")
    visit.sees("Training", "#state")
    until(lambda: len(home.runs()) > before)
    reach(visit, "Stop")
    keyboard.press("Space")
    visit.sees("Stopped", "#state")
    reach(visit, "Log")
    keyboard.press("Enter")
    until(lambda: "accelerate launch" in visit.page.locator("body").inner_text())
    reach(visit, "Delete")
    keyboard.press("Enter")
    reach(visit, "Delete this run with all its files")
    keyboard.press("Enter")
    until(lambda: len(home.runs()) == before)
    assert visit.problems == []
    visit.close()
