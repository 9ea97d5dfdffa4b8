"""Where the page runs, and who is looking at it."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from gradio.utils import get_space
from httpx2 import ConnectError

from memshield.errors import UserError
from memshield.ui.place import find_place
from memshield.ui.visitor import LOCAL, Visitors
from tests.hub.conftest import BOBS, TOKEN
from tests.hub_server import HubServer
from tests.hub_server.in_process import connect

SPACE = {
    "SPACE_ID": "me/memshield",
    "SYSTEM": "spaces",
    "OAUTH_CLIENT_ID": "id",
    "OAUTH_CLIENT_SECRET": "secret",
    "OAUTH_SCOPES": "openid",
    "OPENID_PROVIDER_URL": "https://huggingface.co",
}


def test_at_home(tmp_path: Path) -> None:
    place = find_place({"MEMSHIELD_DATA": str(tmp_path)})
    assert (place.on_space, place.root, place.warning) == (False, tmp_path.resolve(), None)
    assert find_place({}).root == Path("memshield-data").resolve()


def test_on_a_space(tmp_path: Path) -> None:
    place = find_place(SPACE, bucket=tmp_path)
    assert (place.on_space, place.root, place.warning) == (True, tmp_path / "memshield", None)
    assert place.store is not None and not place.store.is_relative_to(tmp_path)
    lost = find_place(SPACE, bucket=tmp_path / "none")
    assert "lost when it restarts" in str(lost.warning)


@pytest.mark.parametrize("missing", SPACE)
def test_a_space_where_sign_in_would_be_mocked_is_refused(missing: str) -> None:
    for without in ({}, {missing: ""}):
        given = {name: value for name, value in SPACE.items() if name != missing}
        with pytest.raises(UserError, match=missing):
            find_place(given | without)


def test_what_gradio_takes_for_a_space_is_one_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would mock the sign-in of a page that believes it."""
    for system, space in itertools.product(("", "home", "spaces"), ("", "me/memshield")):
        for name, value in (SPACE | {"SYSTEM": system, "SPACE_ID": space}).items():
            monkeypatch.setenv(name, value)
        try:
            place = find_place()
        except UserError:
            continue
        assert place.on_space == bool(get_space()), (system, space)


def test_visitors_are_who_the_hub_says(monkeypatch: pytest.MonkeyPatch) -> None:
    with HubServer() as server:
        server.add_user("ada", TOKEN)
        server.add_user("bob", BOBS)
        connect(monkeypatch, server.endpoint)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        visitors = Visitors(on_space=True)
        assert visitors.of(BOBS).owner == "bob"
        assert visitors.of(TOKEN).owner == "ada"
        asked = len(server.requests)
        assert visitors.of(BOBS).owner == "bob"
        assert len(server.requests) == asked
        signed_out = visitors.of(None)
        # Never the operator's token for a stranger.
        assert (signed_out.owner, signed_out.token) == (None, False)
        assert TOKEN not in repr(visitors.of(TOKEN))
        with pytest.raises(UserError, match="Sign in above"):
            signed_out.require_owner()
        with pytest.raises(UserError, match="does not accept your sign-in"):
            visitors.of("hf_nobody")


def test_an_answer_is_believed_for_a_while() -> None:
    now, asked = [0.0], []

    def name_of(token: str) -> str:
        asked.append(token)
        return "ada"

    visitors = Visitors(True, name_of, lambda: now[0])
    visitors.of("x")
    now[0] = 299.0
    visitors.of("x")
    assert len(asked) == 1
    now[0] = 301.0
    visitors.of("x")
    assert len(asked) == 2


def test_a_hub_that_does_not_answer() -> None:
    def name_of(token: str) -> str:
        raise ConnectError("no")

    with pytest.raises(UserError, match="cannot be asked who you are"):
        Visitors(True, name_of).of("x")


def test_at_home_there_is_one_user() -> None:
    assert Visitors(on_space=False).of("whatever").owner == LOCAL
    assert Visitors(on_space=False).of(None).token is None
