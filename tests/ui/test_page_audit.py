"""Auditing on the page, in a real browser, of real trainings: rounds, a budget, a plain twin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.ui.pages import Visit
from tests.ui.servers import Running, read_status, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.slow]
WAIT = 240.0
FEW = "40"


def start_small(visit: Visit) -> None:
    """A demo of three rounds that is audited as it goes, in seconds."""
    visit.fill("Rounds", "3")
    visit.fill("Shards", "2")
    visit.fill("Memorization budget", "0.9")
    visit.open_advanced()
    for label, value in (
        ("max train samples", "200"), ("held out fraction", "0.4"), ("max train steps", "12"),
        ("num inference steps", "3"), ("audit num images", FEW), ("num validation images", "0"),
        ("audit every rounds", "1"),
    ):  # fmt: skip
        visit.fill(label, value)
    visit.press("Start training")


def run_of(home: Running, name: str) -> Path:
    (found,) = (run for run in home.runs() if run.name == name)
    return found


def report_of(run: Path, target: str) -> dict[str, Any]:
    return dict(json.loads((run / "audit" / target / "report.json").read_text()))


def choose(visit: Visit, id: str, words: str) -> None:
    """Choose the entry of a list that begins with these words."""
    box = visit.page.locator(f"#{id} input")
    box.click()
    visit.page.get_by_role("option").filter(has_text=words).first.click()
    until(lambda: not visit.page.get_by_role("option").first.is_visible())


def choose_run(visit: Visit, run: Path) -> None:
    """Choose a run from the rows."""
    row = visit.page.locator(f'#runs [data-run="{run.parent.name}"]')
    row.click()
    until(lambda: row.get_attribute("aria-current") == "true")


def test_a_round_is_chosen_by_budget_and_a_plain_one_stands_beside(
    browser: Browser, home: Running
) -> None:
    visit = Visit(browser, home.url)
    start_small(visit)
    visit.sees("The model is ready", "#state", WAIT)
    (run,) = home.runs()
    visit.tab("Audit")
    visit.sees("is the model", "#rounds")
    assert visit.value("Budget") == "0.9"

    # By the budget: the text of the list says which, and why stands below.
    kept = report_of(run, "model")["target"]["round"]
    other = 1 if kept != 1 else 2
    visit.sees(f"Round {kept} would be kept", "#rounds")
    for bad, words in (
        ("a lot", "is not a number"), ("-1", "must be from 0 to 1"), ("5", "must be from 0 to 1")
    ):  # fmt: skip
        visit.fill("Budget", bad)
        visit.sees(words, "#rounds")
        visit.press("Make it the model")
        visit.sees(words, "#kept")
    # What is typed stays while the page goes on looking.
    visit.fill("Budget", "0.8")
    visit.page.wait_for_timeout(2500)
    assert visit.value("Budget") == "0.8"

    # Another round by hand, and back by the budget.
    choose(visit, "number", f"Round {other}")
    visit.press("Make it the model")
    visit.sees(f"Round {other} is the model now: chosen by hand", "#kept")
    visit.sees(f"round {other} is kept: chosen by hand", "#state")
    assert report_of(run, "model")["target"]["round"] == other
    choose(visit, "number", "By the budget")
    visit.press("Make it the model")
    visit.sees(f"Round {kept} is the model now: best KID", "#kept")
    visit.sees("Copies", "#audit")
    assert report_of(run, "model") == report_of(run, f"round-{kept}")

    # Bad numbers of pictures are answered, and nothing is begun.
    for bad, words in (
        ("3", "from 10 to 10,000"),
        ("-1", "from 10"),
        ("many", "not a whole number"),
    ):
        visit.fill("Pictures to generate", bad)
        visit.press("Audit")
        visit.sees(words, "#audit-problems")
    assert "Audit:" not in visit.text("#state")

    # All rounds, with as many pictures each.
    visit.fill("Pictures to generate", "50")
    choose(visit, "what", "All rounds")
    visit.press("Audit")
    visit.sees("Audit: ", "#state")
    until(lambda: report_of(run, "round-3")["generated"]["count"] == 50, WAIT)
    until(lambda: "Audit:" not in visit.text("#state"))

    # A plain twin: trained, audited, and then beside this one without being asked.
    visit.press("Train a plain run for comparison")
    visit.sees("has been queued", "#twin")
    twin = f"{run.name}-plain"
    until(lambda: len(home.runs()) == 2)
    until(lambda: read_status(run_of(home, twin))["state"] == "done", WAIT)
    choose_run(visit, run_of(home, twin))
    offer = visit.page.get_by_role("button", name="Train a plain run for comparison")
    until(lambda: not offer.is_visible())
    visit.fill("Pictures to generate", FEW)
    visit.press("Audit")
    until((run_of(home, twin) / "audit" / "model" / "report.json").is_file, WAIT)
    visit.go()
    visit.tab("Runs")
    choose_run(visit, run)
    visit.tab("Audit")
    visit.sees("handwritten digits, plain", "#audit")
    visit.sees("Side by side", "#audit")
    assert not offer.is_visible()
    visit.shoot("audit-light")
    # What is taken away stays away.
    visit.page.locator("#beside").get_by_role("button").first.click()
    until(lambda: "Side by side" not in visit.text("#audit"))
    assert visit.problems == [], "\n".join(visit.problems)
    plots_are_legible_in_the_dark_and_nothing_is_cut_on_a_phone(visit, home, run)
    visit.close()


def plots_are_legible_in_the_dark_and_nothing_is_cut_on_a_phone(
    visit: Visit, home: Running, run: Path
) -> None:
    for name, query, size in (("dark", "?__theme=dark", (1200, 900)), ("phone", "", (390, 844))):
        visit.page.set_viewport_size({"width": size[0], "height": size[1]})
        visit.go(f"{home.url}/{query}")
        visit.tab("Runs")
        choose_run(visit, run)
        visit.tab("Audit")
        plot = visit.page.locator("#rounds img")
        plot.wait_for()
        style = plot.evaluate("one => [getComputedStyle(one).filter, one.src]")
        assert ("invert" in style[0]) == (name == "dark")
        width = visit.page.evaluate("document.documentElement.scrollWidth")
        assert width <= size[0]
        visit.shoot(f"audit-{name}")
