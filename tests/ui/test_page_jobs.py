"""The page on a Space without a GPU, whose visitors train on Jobs in their own names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.hub_server import HubServer
from tests.ui.axe import violations
from tests.ui.pages import Visit
from tests.ui.servers import Running, end_tasks, serving, space_environment, until
from tests.ui.test_space import OPERATORS

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.slow]
ADAS, BOBS = "hf_" + "adastokenthatisofherownhand", "hf_" + "bobstokenthatisofhisownhand"


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with HubServer(keep_bodies=True) as server:
        for name, token in (("ada", ADAS), ("bob", BOBS), ("operator", OPERATORS)):
            server.add_user(name, token)
        server.add_oauth_client("app", "of-the-app")
        yield server
        for name in ("ada", "bob"):
            for job in server.jobs.of(name):
                job.end("CANCELED")


@pytest.fixture(scope="module")
def space(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("space")
    environment = space_environment(folder, hub, OPERATORS, "contribute-repos jobs")
    with serving(folder, environment) as running:
        yield running
        end_tasks(running.data)


def sign_in_for_jobs(visit: Visit, name: str) -> None:
    with visit.leaving():
        visit.page.get_by_role("link", name="Sign in for Jobs").click()
        visit.page.get_by_role("button", name=name, exact=True).click()
        visit.page.get_by_role("button", name=f"Logout ({name})").wait_for()
    visit.open_form()


def start(visit: Visit, epochs: str) -> None:
    """Start the demo on Jobs; a run of one epoch takes seconds."""
    for label, value in (("Epochs", epochs), ("Rounds", "1"), ("Shards", "1")):
        visit.fill(label, value)
    visit.fill("Memorization budget", "")
    small_set(visit)
    choose_hardware(visit)
    visit.press("Start training")
    visit.sees("On Hugging Face Jobs", "#state")


def small_set(visit: Visit) -> None:
    """Fewer pictures to learn, to draw and to audit."""
    visit.open_advanced()
    for label, value in (
        ("max train samples", "200"), ("held out fraction", "0.4"),
        ("num validation images", "0"), ("audit every rounds", ""),
    ):  # fmt: skip
        visit.fill(label, value)


def choose_hardware(visit: Visit) -> None:
    visit.page.locator("#hardware input").click()
    visit.page.get_by_role("option", name=re.compile("cpu-upgrade")).click()
    visit.fill("Ceiling of the cost", "0.02")
    visit.sees("saves a checkpoint and stops", "#cost")


def test_two_people_train_on_jobs(browser: Browser, space: Running, hub: HubServer) -> None:
    ada = Visit(browser, space.url, hub.endpoint)
    assert ada.page.get_by_label("Hugging Face Jobs").is_checked()
    ada.sign_in("ada")
    ada.press("Start training")
    ada.sees("Jobs need a token of yours that may run them", "#problem-place")
    sign_in_for_jobs(ada, "ada")
    ada.fill("Ceiling of the cost", "0.00001")
    ada.press("Start training")
    ada.sees("pays for less than 15 minutes", "#problem-ceiling")
    start(ada, "1")
    ada.tab("New training")
    ada.fill("Epochs", "3000")
    ada.press("Start training")
    until(lambda: len(hub.jobs.of("ada")) == 2)
    ada.sees("Training", "#state")

    bob = Visit(browser, space.url, hub.endpoint)
    sign_in_for_jobs(bob, "bob")
    bob.tab("Runs")
    bob.sees("No runs yet", "#state")
    bob.tab("New training")
    choose_hardware(bob)
    bob.press("Start training")
    bob.sees("Training", "#state")
    # The list follows the chosen run by a tick.
    until(lambda: bob.page.locator("[data-run]").count() == 1)
    until(lambda: ada.page.locator("[data-run]").count() == 2)
    # His row is there before the Hub has answered.
    until(lambda: [len(hub.jobs.of(name)) for name in ("ada", "bob")] == [2, 1])
    assert "cpu-upgrade, $0.00" in ada.text("#runs")

    # Her first one comes to its end meanwhile, and its model is here.
    ada.page.locator("[data-run]").nth(1).click()
    ada.sees("The model is ready", "#state", seconds=600)
    ada.shoot("jobs-done")
    ada.tab("Log")
    ada.sees("memshield submit --config")
    # It is audited where it was trained.
    ada.tab("Audit")
    assert ada.page.get_by_label("Hugging Face Jobs: cpu-upgrade, $0.02 at most").is_checked()
    ada.fill("Pictures to generate", "20")
    ada.press("Audit")
    until(lambda: len(hub.jobs.of("ada")) == 3, 60)
    ada.sees("Copies", "#audit", seconds=300)
    until(lambda: not ada.page.get_by_label("Earlier audit").is_visible(), 300)
    ada.shoot("jobs-audited")
    assert not violations(ada.page, grave=True)
    ada.page.set_viewport_size({"width": 390, "height": 844})
    for tab in ("Audit", "Progress", "New training"):
        ada.tab(tab)
        assert ada.page.evaluate("document.documentElement.scrollWidth") <= 390
        ada.shoot(f"jobs-phone-{tab.lower().replace(' ', '-')}")
    ada.page.set_viewport_size({"width": 1200, "height": 900})
    ada.tab("Runs")

    # The other is stopped with a checkpoint, which is in her bucket, and goes on in another job.
    ada.page.locator("[data-run]").nth(0).click()
    ada.sees("Training", "#state")  # of that one, before it is stopped
    ada.press("Stop")
    ada.sees("Stopped", "#state h3")
    ada.sees("Resume continues from step", "#state")
    ada.shoot("jobs-stopped")
    ada.press("Resume")
    ada.sees("Training", "#state")
    until(lambda: len(hub.jobs.of("ada")) == 4)
    assert ada.problems + bob.problems == []
    ada.close()
    bob.close()
    assert_nowhere(hub, space)


def assert_nowhere(hub: HubServer, space: Running) -> None:
    """Tokens were in Authorization headers alone, and are in nothing that the server wrote."""
    headers = [request.headers.get("authorization", "") for request in hub.requests]
    # Those of uploads to the bucket are of another kind, and short-lived.
    used = {text.removeprefix("Bearer ") for text in headers if text.startswith("Bearer hf_")}
    assert len(used) == 3  # ada's two sign-ins, and bob's
    held = [path.read_bytes() for path in space.data.parent.rglob("*") if path.is_file()]
    written = b"".join([*hub.bodies, *held, space.said.encode()])
    for request in hub.requests:
        others = [value for name, value in request.headers.items() if name != "authorization"]
        written += " ".join([request.path, *others]).encode()
    assert not [token for token in (*used, OPERATORS) if token.encode() in written]
