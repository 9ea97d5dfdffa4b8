"""What the real clients are refused, and which of their errors it becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hub_server.asking import ask, visit
from tests.hub_server.filling import Filled

COMMON_REFUSALS = {
    "gated_info": "ok",
    "missing_file": "RemoteEntryNotFoundError 404",
    "missing_folder": "RemoteEntryNotFoundError 404",
    "revision": "RevisionNotFoundError 404",
    "revision_file": "RevisionNotFoundError 404",
    "revision_snapshot": "RevisionNotFoundError 404",
}


def private_answers(answer: str) -> dict[str, str]:
    return dict.fromkeys(("private", "private_file", "private_snapshot"), answer)


def gated_answers(answer: str) -> dict[str, str]:
    return dict.fromkeys(("gated_file", "gated_check"), answer)


@pytest.mark.process
def test_refusals_signed_out(filled: Filled, tmp_path: Path) -> None:
    assert visit(filled.hub, "refusals", tmp_path) == {
        **COMMON_REFUSALS,
        **private_answers("RepositoryNotFoundError 401"),
        **gated_answers("GatedRepoError 401"),
        "missing": "RepositoryNotFoundError 401",
        "whoami": "LocalTokenNotFoundError",
        "listed": [],
    }


@pytest.mark.process
def test_refusals_to_a_stranger(filled: Filled, tmp_path: Path) -> None:
    assert visit(filled.hub, "refusals", tmp_path, token="hf_eve") == {
        **COMMON_REFUSALS,
        **private_answers("RepositoryNotFoundError 404"),
        **gated_answers("GatedRepoError 403"),
        "missing": "RepositoryNotFoundError 404",
        "whoami": "ok",
        "listed": [],
    }


@pytest.mark.process
def test_refusals_to_the_owner(filled: Filled, tmp_path: Path) -> None:
    assert visit(filled.hub, "refusals", tmp_path, token="hf_ada") == {
        **COMMON_REFUSALS,
        **private_answers("ok"),
        **gated_answers("ok"),
        "missing": "RepositoryNotFoundError 404",
        "whoami": "ok",
        "listed": ["ada/secret"],
    }


@pytest.mark.process
def test_refusals_of_a_bad_token(filled: Filled, tmp_path: Path) -> None:
    seen = visit(filled.hub, "refusals", tmp_path, token="hf_nobody")
    assert set(seen.values()) == {"HfHubHTTPError 401"}


def test_granted_access_can_be_replaced(filled: Filled) -> None:
    hub = filled.hub
    assert ask(hub.endpoint, "GET", "/api/models/ada/gated/auth-check", "hf_bob").status == 200
    hub.set_gated_access("bob", [])
    assert ask(hub.endpoint, "GET", "/api/models/ada/gated/auth-check", "hf_bob").status == 403
    hub.set_gated_access("bob", [("model", "ada/gated")])
    assert ask(hub.endpoint, "GET", "/api/models/ada/gated/auth-check", "hf_bob").status == 200
