"""The page on a Space, in the browsers of people who sign in on the Hub's own page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.hub.conftest import BOBS, CARD, TOKEN, fill
from tests.hub_server import HubServer
from tests.tiny import image_folder, sd_pipeline
from tests.ui.pages import Running, Visit, end_tasks, serving, space_environment, until
from tests.ui.test_page import LONG, tiny
from tests.ui.test_space import OPERATORS

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    folder = tmp_path_factory.mktemp("hub")
    base = sd_pipeline(folder / "sd")
    (base / "README.md").write_text(CARD.format(licence="mit"))
    captions = [f"a very secret caption number {i}" for i in range(200)]
    with HubServer() as server:
        fill(server, base, image_folder(folder / "set", 200, captions=captions))
        server.add_user("operator", OPERATORS)
        server.add_oauth_client("app", "of-the-app")
        yield server


@pytest.fixture(scope="module")
def space(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("space")
    with serving(folder, space_environment(folder, hub, OPERATORS)) as running:
        yield running
        end_tasks(running.data)


@pytest.mark.browser
def test_two_people_in_their_own_browsers(browser: Browser, space: Running, hub: HubServer) -> None:
    ada = Visit(browser, space.url, hub.endpoint)
    ada.press("Start training")
    ada.sees("Sign in", "#problems")
    ada.sign_in("ada")
    tiny(ada, LONG)
    ada.press("Start training")
    ada.sees("Training", "#state")
    until(lambda: space.state() == "running")

    bob = Visit(browser, space.url, hub.endpoint)
    bob.tab("Runs")
    bob.sees("No runs yet", "#state")
    bob.sign_in("bob")
    bob.tab("Runs")
    bob.sees("No runs yet", "#state")
    assert "digits" not in bob.text("body")

    # Signed out, she does not see it either; and it goes on.
    ada.page.get_by_role("button", name="Logout (ada)").click()
    ada.page.get_by_role("button", name="Sign in with Hugging Face").wait_for()
    ada.tab("Runs")
    ada.sees("No runs yet", "#state")
    assert space.state() == "running"
    ada.sign_in("ada")
    ada.tab("Runs")
    ada.sees("Training", "#state")
    ada.press("Stop")
    until(lambda: space.state() == "stopped")
    assert ada.problems + bob.problems == []
    ada.close()
    bob.close()
    cookies = [one for one in hub.requests if one.path == "/oauth/token"]
    assert len(cookies) == 3
    for token in (TOKEN, BOBS, OPERATORS):
        assert token not in space.said
