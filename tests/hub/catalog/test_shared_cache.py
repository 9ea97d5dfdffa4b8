"""Two people on one machine: what one has downloaded is not the other's."""

from __future__ import annotations

from typing import Any

import pytest

from tests.hub.catalog import ADA, EVE, ask, words
from tests.hub_server import HubServer

pytestmark = pytest.mark.process

NAMES = {
    "private dataset": {"model": "ada/tiny-ddpm", "dataset": "ada/secret-folder"},
    "gated dataset": {"model": "ada/tiny-ddpm", "dataset": "lab/gated-folder"},
    "private model": {"model": "ada/secret-sd", "dataset": "ada/folder"},
    "gated model": {"model": "lab/gated-sd", "dataset": "ada/folder"},
    "script": {"model": "ada/tiny-ddpm", "dataset": "ada/script"},
}


@pytest.fixture(scope="module")
def seen(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Answers of both, first Ada's, who may read all of it."""
    home = tmp_path_factory.mktemp("home")
    hub.set_gated_access("ada", [("model", "lab/gated-sd"), ("dataset", "lab/gated-folder")])
    found = {}
    for person, token in {"ada": ADA, "eve": EVE}.items():
        calls = (("open_for_training", {**names, "token": None}) for names in NAMES.values())
        answers = ask(hub, home, *calls, HF_TOKEN=token).answers
        found[person] = dict(zip(NAMES, answers, strict=True))
    return found


@pytest.mark.parametrize("name", [name for name in NAMES if name != "script"])
def test_downloads_are_not_handed_to_others(seen: dict[str, dict[str, Any]], name: str) -> None:
    assert seen["ada"][name] == {"image": "image", "caption": "text", "label": None}
    private, which = name.startswith("private"), NAMES[name][name.split()[1]]
    problem = "is not on the Hub or not readable" if private else "is gated, and you have no access"
    assert f"{which} {problem}" in words(seen["eve"][name])


def test_a_loading_script_is_refused_before_training(seen: dict[str, dict[str, Any]]) -> None:
    assert "a program of its own (script.py), which is never run" in words(seen["ada"]["script"])


@pytest.mark.parametrize("token", [EVE, False], ids=["another visitor", "signed out"])
def test_who_brings_a_token_is_not_served_with_the_hosts(
    hub: HubServer, tmp_path_factory: pytest.TempPathFactory, token: str | bool
) -> None:
    hub.set_gated_access("ada", [("model", "lab/gated-sd"), ("dataset", "lab/gated-folder")])
    home = tmp_path_factory.mktemp("page")
    asked = [names for name, names in NAMES.items() if name != "script"]
    calls = [("open_for_training", {**names, "token": who}) for who in (None, token)
             for names in asked]  # fmt: skip
    visit = ask(hub, home, *calls, HF_TOKEN=ADA)
    hosts, visitors = visit.answers[: len(asked)], visit.answers[len(asked) :]
    assert all("error" not in answer for answer in hosts)
    assert all("not readable" in words(one) or "is gated" in words(one) for one in visitors)
