"""The first screen in a real browser: three ways to start, the estimate, runs as rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.ui.axe import violations
from tests.ui.pages import Visit
from tests.ui.servers import Running, end_tasks, home_environment, serving, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

pytestmark = pytest.mark.browser
WIDTH = "document.documentElement.scrollWidth"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("home")
    with serving(folder, home_environment(folder)) as running:
        yield running
        end_tasks(running.data)


def test_a_stranger_finds_a_way_to_start(browser: Browser, home: Running) -> None:
    visit = Visit(browser, home.url, width=390, form=False)
    page = visit.page
    visit.sees("minutes on this machine", "#way-demo")
    assert not page.get_by_role("button", name="Start training").is_visible()
    assert page.evaluate(WIDTH) <= 390
    assert violations(page, grave=True) == []
    visit.shoot("first-phone")

    visit.press("Upload pictures")
    page.get_by_label("Pictures that you upload").wait_for()
    assert page.get_by_label("Pictures that you upload").is_checked()
    assert page.get_by_label("A new small model, from scratch").is_checked()
    visit.sees("once pictures are chosen", "#estimate")
    visit.press("Choose a model")
    page.get_by_role("button", name="Search models").wait_for()
    until(lambda: page.get_by_label("A dataset on the Hub").is_checked())
    visit.sees("once a model and pictures are chosen", "#estimate")
    visit.sees("20 % are at high noise", "#strength-meaning")  # what captions need

    # The estimate follows the form, and stays in view.
    visit.press("Change its settings")
    visit.sees("a rough estimate", "#estimate")
    page.get_by_label("Low", exact=True).check()
    visit.sees("17 % are at low noise", "#strength-meaning")
    visit.fill("Epochs", "3000")
    visit.sees("hours", "#estimate")
    assert page.locator("#strength").get_by_role("slider").input_value() == "0.25"
    visit.fill("Epochs", "0")
    visit.sees("once the settings can be read", "#estimate")
    page.evaluate("document.getElementById('form').scrollIntoView()")
    box = page.get_by_role("button", name="Start training").bounding_box()
    assert box is not None and box["y"] + box["height"] <= 900
    page.get_by_label("Custom", exact=True).check()
    page.locator("#strength").get_by_role("slider").wait_for()
    assert page.evaluate(WIDTH) <= 390
    assert visit.problems == []
    visit.close()


def test_the_demo_starts_at_once_and_is_a_row_that_can_be_renamed(
    browser: Browser, home: Running
) -> None:
    visit = Visit(browser, home.url, form=False)
    page = visit.page
    visit.sees("minutes on this machine", "#way-demo")
    visit.press("Start the demo")
    visit.sees("new model on handwritten digits", "#runs")
    until(lambda: home.state() == "running")
    visit.press("Rename")
    assert visit.value("Name") == "new model on handwritten digits"
    visit.fill("Name", " ")
    visit.press("Save the name")
    visit.sees("is empty", "#problem-title")
    visit.fill("Name", "My first <b>run</b>")
    visit.press("Save the name")
    visit.sees("My first <b>run</b>", "#runs")
    visit.press("Stop")
    visit.sees("Stopped", "#state")
    visit.sees("Stopped", "#runs")

    # Who has runs sees them first, and is not kept from a new training.
    visit.go()
    visit.sees("My first <b>run</b>", "#runs")
    assert page.get_by_role("tab", name="Runs").get_attribute("aria-selected") == "true"
    visit.tab("New training")
    visit.press("Start the demo")
    rows = page.locator("#runs [data-run]")
    until(lambda: rows.count() == 2)
    until(lambda: rows.nth(0).get_attribute("aria-current") == "true")
    visit.press("Stop")
    visit.sees("Stopped", "#state")
    # The keyboard chooses a row, which keeps the focus.
    rows.nth(1).focus()
    page.keyboard.press("Enter")
    until(lambda: rows.nth(1).get_attribute("aria-current") == "true")
    assert page.evaluate("document.activeElement.closest('#runs') !== null")
    visit.press("Rename")
    until(lambda: visit.value("Name") == "My first <b>run</b>")
    choose_while_the_list_changes(visit, "Renamed")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate(WIDTH) <= 390
    assert violations(page, grave=True) == []
    visit.shoot("runs-phone")
    assert visit.problems == []
    visit.close()


def choose_while_the_list_changes(visit: Visit, name: str) -> None:
    """Choose the first row while a new name of the second is awaited, then the second one again."""
    page, rows = visit.page, visit.page.locator("#runs [data-run]")
    asked: list[Route] = []

    def hold(route: Route) -> None:
        asked.append(route)
        if len(asked) == 1:  # the name; then the list is asked for
            route.continue_()

    def waits() -> bool:
        page.wait_for_timeout(50)  # routes are answered meanwhile
        return len(asked) == 2

    def is_chosen(number: int) -> bool:
        return rows.nth(number).get_attribute("aria-current") == "true"

    page.route("**/queue/join*", hold)
    visit.fill("Name", name)
    visit.press("Save the name")
    until(waits)
    rows.nth(0).click()
    until(lambda: is_chosen(0))
    for route in asked[1:]:
        route.continue_()
    page.unroute("**/queue/join*")
    visit.sees(name, "#runs")
    page.wait_for_timeout(1500)
    assert is_chosen(0)
    # A row that is made anew while it is pressed.
    box = rows.nth(1).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.evaluate(
        "for (const it of [document.querySelector('#runs nav')]) it.replaceWith(it.cloneNode(1))"
    )
    page.mouse.up()
    until(lambda: is_chosen(1))
