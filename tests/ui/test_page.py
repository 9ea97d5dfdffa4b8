"""The page at home, in a real browser, with real trainings."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from memshield.ui.api import NAMES
from tests.ui.axe import violations
from tests.ui.pages import Visit
from tests.ui.servers import Running, home_environment, read_status, start, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.process

LONG = "100000"


def tiny(visit: Visit, steps: str = "12") -> None:
    """Make the demo a matter of seconds, by the inputs that a person has."""
    visit.fill("Rounds", "1")
    visit.fill("Shards", "1")
    visit.fill("Memorization budget", "")
    visit.open_advanced()
    visit.fill("max train samples", "60")
    visit.fill("max train steps", steps)
    visit.fill("num validation images", "0")
    visit.fill("audit every rounds", "")


@pytest.mark.slow
@pytest.mark.browser
def test_a_training_is_watched_stopped_and_resumed(browser: Browser, home: Running) -> None:
    maps = Path(f"/proc/{home.process.pid}/maps").read_text()
    assert "libtorch" not in maps  # seconds, and a gigabyte, for a page that computes nothing
    visit = Visit(browser, home.url)
    assert visit.page.get_by_label("Demo: handwritten digits").is_checked()
    visit.press("See what will happen")
    visit.sees("pictures to train on", "#plan")
    tiny(visit, LONG)
    visit.press("Start training")
    visit.sees("Training", "#state")
    until(lambda: home.state() == "running")
    assert visit.page.get_by_role("tab", name="Runs").get_attribute("aria-selected") == "true"

    # The training is the server's: a new window shows it, and no window ends it.
    visit.go()
    visit.tab("Runs")
    visit.sees("Training", "#state")
    assert visit.problems == []
    visit.close()
    assert home.state() == "running"

    visit = Visit(browser, home.url)
    visit.tab("Runs")
    visit.press("Stop")
    visit.sees("Stopped", "#state")
    until(lambda: home.state() == "stopped")
    visit.tab("Log")
    # An editor cuts a line into parts: what it shows is looked for, not an element.
    until(lambda: "accelerate launch" in visit.page.locator("body").inner_text())
    visit.press("Resume")
    visit.sees("Training", "#state")
    assert read_status(home.runs()[0])["attempt"] == 2
    visit.press("Stop")
    until(lambda: home.state() == "stopped")

    # Deleting asks once more.
    visit.press("Delete")
    visit.press("Keep it")
    assert home.state() == "stopped"
    visit.press("Delete")
    visit.press("Delete this run with all its files")
    visit.sees("No runs yet", "#state")
    until(lambda: home.runs() == [])
    assert visit.problems == []
    visit.close()


@pytest.mark.browser
def test_a_bad_input_is_answered_in_words(browser: Browser, home: Running) -> None:
    visit = Visit(browser, home.url)
    for label, bad, words, place in (
        ("Epochs", "0", "must be at least 1", "#problem-epochs"),
        ("Epochs", "-3", "must be at least 1", "#problem-epochs"),
        ("Memorization budget", "5", "must be at most", "#problem-budget"),
    ):
        before = visit.value(label)
        # Said as soon as the input is left. Only then is Start pressed, which would train.
        visit.fill(label, bad)
        visit.sees(words, place)
        visit.press("Start training")
        named = visit.sees(label, "#problems")
        visit.fill(label, before)
        named.wait_for(state="hidden")
    for label, bad, words, place in (
        ("Shards", "9999", "pictures", "#problem-shards"),
        ("Publish as", "../x", "hf auth login", "#problems"),
    ):
        before = visit.value(label)
        visit.fill(label, bad)
        visit.page.wait_for_timeout(2000)  # said by Start alone, which must not see the old value
        visit.press("Start training")
        visit.sees(words, place)
        visit.fill(label, before)
    visit.open_advanced()
    visit.fill("learning rate", "a lot")
    visit.press("Start training")
    visit.sees("is 'a lot'", "#problem-learning_rate")
    visit.fill("learning rate", "")
    visit.page.get_by_label("A model from the Hub").check()
    visit.fill("Model", "../etc/passwd")
    visit.press("Start training")
    visit.sees("is no id on the Hub", "#problem-model")
    visit.shoot("page-problems")
    assert list(home.data.glob("jobs/*")) == []
    assert visit.problems == []
    visit.close()


@pytest.mark.slow
@pytest.mark.browser
def test_a_killed_training_can_be_resumed(browser: Browser, home: Running) -> None:
    visit = Visit(browser, home.url)
    tiny(visit, LONG)
    visit.press("Start training")
    until(lambda: home.state() == "running")
    for process in read_status(home.runs()[0])["processes"]:
        os.kill(process["pid"], signal.SIGKILL)
    visit.sees("Its process was killed", "#state")
    visit.page.get_by_role("button", name="Resume", exact=True).wait_for()
    visit.shoot("page-died")
    assert violations(visit.page, grave=True) == []
    assert visit.problems == []
    visit.close()


@pytest.mark.browser
@pytest.mark.slow
def test_a_stopped_training_begins_anew_with_other_settings(
    browser: Browser, home: Running
) -> None:
    visit = Visit(browser, home.url)
    tiny(visit, LONG)
    visit.press("Start training")
    until(lambda: home.state() == "running")
    until(lambda: visit.progress() > 0)  # before that, any setting may differ
    visit.press("Stop")
    until(lambda: home.state() == "stopped")
    visit.page.get_by_role("button", name="Train with other settings").click()
    visit.fill("Settings to change", "learning_rate: fast")
    visit.press("Resume with these")
    visit.sees("learning rate", "#problem-changes")
    visit.fill("Settings to change", "learning_rate: 0.5")
    visit.press("Resume with these")
    visit.sees("may not differ", "#problem-changes")
    visit.fill("Settings to change", "max_train_steps: 8, lr_warmup_steps: 0  # briefly")
    visit.shoot("page-changes")
    visit.press("Train anew with these")
    visit.sees("The model is ready", "#state")
    assert [read_status(run)["state"] for run in home.runs()].count("done") == 1
    assert len(home.runs()) == 2
    assert visit.problems == []
    visit.close()


@pytest.mark.browser
@pytest.mark.slow
def test_a_killed_server_leaves_the_training_and_finds_it_again(
    browser: Browser, folder: Path
) -> None:
    first = start(folder, home_environment(folder))
    try:
        visit = Visit(browser, first.url)
        tiny(visit, LONG)
        visit.press("Start training")
        until(lambda: first.state() == "running")
        until(visit.progress)
    finally:
        first.kill()
    # Read only now: a click before the tab has found the new server is lost with the old one.
    shown = visit.progress()
    before = read_status(first.runs()[0])["processes"]
    second = start(folder, home_environment(folder), first.port)
    try:
        assert read_status(second.runs()[0])["processes"] == before
        # The tab that was open all the time goes on by itself,
        until(lambda: visit.progress() > shown)
        visit.press("Stop")
        until(lambda: second.state() == "stopped")
        visit.sees("Stopped", "#state")
        visit.close()
        # and so does a new one.
        visit = Visit(browser, second.url)
        visit.tab("Runs")
        visit.sees("Stopped", "#state")
        visit.close()
    finally:
        second.kill()


@pytest.mark.slow
def test_a_script_asks_by_name(home: Running) -> None:
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    client = Client(home.url, verbose=False)
    described: Any = client.view_api(return_format="dict", print_info=False)
    assert set(described["named_endpoints"]) == {f"/{name}" for name in NAMES}
    assert described["unnamed_endpoints"] == {}
    for name, endpoint in described["named_endpoints"].items():
        assert endpoint["description"], name
        assert [one for one in endpoint["parameters"] if one["type"]], name
    with pytest.raises(AppError, match=r"cannot be reached|answer|Hub"):
        client.predict("tiny", api_name="/search")
    choices = {"recipe": "demo", "epochs": 1, "rounds": 1, "shards": 1}
    planned = client.predict(choices, api_name="/plan")
    assert planned["problems"] == [] and "num_train_epochs: 1" in planned["yaml"]
    with pytest.raises(AppError, match=r"num_train_epochs|epochs"):
        client.predict({**choices, "epochs": 0}, api_name="/submit")
    with pytest.raises(AppError, match="is not a choice"):
        client.predict({"output_dir": "/"}, api_name="/submit")
    for name in ("epochs", "strength", "model", "hub_model_id", "recipe"):
        with pytest.raises(AppError, match=name):
            client.predict({**choices, name: {"a": [1]}}, api_name="/submit")
    with pytest.raises(AppError, match="not a mapping"):
        client.predict(["demo"], api_name="/plan")
    with pytest.raises(AppError, match="not a text"):
        client.predict({"a": 1}, api_name="/search")
    assert "Traceback" not in home.said
    assert list(home.data.glob("jobs/*")) == []
    job = client.predict(choices, api_name="/submit")
    until(
        lambda: client.predict(job, api_name="/status")["training"]["state"] in ("running", "done")
    )
    for wrong in ("x" * 22, "../../etc", "", {"a": 1}):
        with pytest.raises(AppError, match="there is no job"):
            client.predict(wrong, api_name="/status")
        with pytest.raises(AppError, match="there is no job"):
            client.predict(wrong, api_name="/report")
