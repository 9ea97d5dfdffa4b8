"""Where the page runs, and who is looking at it."""

from __future__ import annotations

import contextlib
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from gradio.utils import get_space
from httpx2 import ConnectError

from memshield.errors import UserError
from memshield.network import TryAgainError
from memshield.ui.server.deployment import find_deployment
from memshield.ui.server.visitor import LOCAL, Visitors
from tests.hub.conftest import BOBS, TOKEN
from tests.hub_server import Fault, HubServer
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
    place = find_deployment({"MEMSHIELD_DATA": str(tmp_path)})
    assert (place.on_space, place.root, place.warning) == (False, tmp_path.resolve(), None)
    assert find_deployment({}).root == Path("memshield-data").resolve()


def test_on_a_space(tmp_path: Path) -> None:
    place = find_deployment(SPACE, bucket=tmp_path)
    assert (place.on_space, place.root, place.warning) == (True, tmp_path / "memshield", None)
    assert place.store is not None and not place.store.is_relative_to(tmp_path)
    lost = find_deployment(SPACE, bucket=tmp_path / "none")
    assert "lost when it restarts" in str(lost.warning)


@pytest.mark.parametrize("missing", SPACE)
def test_a_space_where_sign_in_would_be_mocked_is_refused(missing: str) -> None:
    for without in ({}, {missing: ""}):
        given = {name: value for name, value in SPACE.items() if name != missing}
        with pytest.raises(UserError, match=missing):
            find_deployment(given | without)


def test_what_gradio_takes_for_a_space_is_one_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would mock the sign-in of a page that believes it."""
    begun = []
    for system, space in itertools.product(("", "home", "spaces"), ("", "me/memshield")):
        for name, value in (SPACE | {"SYSTEM": system, "SPACE_ID": space}).items():
            monkeypatch.setenv(name, value)
        try:
            place = find_deployment()
        except UserError:
            continue
        assert place.on_space == bool(get_space()), (system, space)
        begun.append(place.on_space)
    assert set(begun) == {True, False}


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


class Asked:
    """A Hub that is asked whose a token is, and the time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[str] = []
        self.raises: Exception | None = None

    def name_of(self, token: str) -> str:
        self.asked.append(token)
        if self.raises is not None:
            raise self.raises
        return "ada"


@pytest.fixture
def hub() -> Asked:
    return Asked()


@pytest.fixture
def visitors(hub: Asked) -> Visitors:
    return Visitors(True, hub.name_of, lambda: hub.now)


def ticks(visitors: Visitors, hub: Asked, seconds: float) -> int:
    """How often the Hub is asked while a page is refreshed."""
    before, until = len(hub.asked), hub.now + seconds
    while hub.now < until:
        hub.now += 0.9
        with contextlib.suppress(UserError):
            visitors.of("x")
    return len(hub.asked) - before


def test_an_answer_is_believed_for_a_while(visitors: Visitors, hub: Asked) -> None:
    visitors.of("x")
    hub.now = 299.0
    visitors.of("x")
    assert len(hub.asked) == 1
    hub.now = 301.0
    visitors.of("x")
    assert len(hub.asked) == 2


@pytest.mark.parametrize(
    "trouble", [ConnectError("no"), TryAgainError("the Hub answered 429"), KeyError("name")]
)
def test_a_hub_that_does_not_answer(visitors: Visitors, hub: Asked, trouble: Exception) -> None:
    hub.raises = trouble
    with pytest.raises(UserError, match=r"cannot be asked who you are (?s:.*)Try again"):
        visitors.of("x")
    assert ticks(visitors, hub, 60) <= 4
    hub.raises, hub.now = None, hub.now + 16
    assert visitors.of("x").owner == "ada"
    hub.raises, hub.now = trouble, hub.now + 301
    assert visitors.of("x").owner == "ada", "who was known stays so"
    assert ticks(visitors, hub, 60) <= 4
    assert visitors.of("x").owner == "ada"
    with pytest.raises(UserError, match="cannot be asked"):
        visitors.of("another")
    hub.now += 86_400
    with pytest.raises(UserError, match="cannot be asked"):
        visitors.of("x")


def test_while_the_hub_is_asked_nobody_else_waits(hub: Asked) -> None:
    answers, asking = threading.Event(), threading.Event()

    def name_of(token: str) -> str:
        if hub.now:
            asking.set()
            assert answers.wait(10)
        return "ada"

    visitors = Visitors(True, name_of, lambda: hub.now)
    visitors.of("x")
    hub.now = 301.0
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(visitors.of, "x")
        assert asking.wait(10)
        assert visitors.of("x").owner == "ada"
        assert not first.done()
        answers.set()
        assert first.result(10).owner == "ada"


def test_only_the_hub_ends_a_sign_in(monkeypatch: pytest.MonkeyPatch, hub: Asked) -> None:
    """By 401, and by nothing else that it answers."""
    with HubServer() as server:
        server.add_user("ada", TOKEN)
        connect(monkeypatch, server.endpoint)
        visitors = Visitors(True, clock=lambda: hub.now)
        assert visitors.of(TOKEN).owner == "ada"
        for status in (429, 403, 500, 503):
            server.fail(Fault("answer", path="/api/whoami", status=status))
            hub.now += 301
            before = len(server.requests)
            assert visitors.of(TOKEN).owner == "ada", status
            assert len(server.requests) == before + 1
        server.fail(Fault("cut", path="/api/whoami", times=None))
        hub.now += 301
        assert visitors.of(TOKEN).owner == "ada"
        with pytest.raises(UserError, match="cannot be asked who you are"):
            visitors.of(BOBS)
        server.clear_faults()
        server.expire_token(TOKEN)
        hub.now += 301
        with pytest.raises(UserError, match="does not accept your sign-in"):
            visitors.of(TOKEN)
        before = len(server.requests)
        with pytest.raises(UserError, match="does not accept your sign-in"):
            visitors.of(TOKEN)
        assert len(server.requests) == before, "a page that is still open does not ask on and on"


@pytest.mark.parametrize("token", ["hf_\n", "hf_\xe4", "hf_\ud800", " "])
def test_what_can_be_no_token_is_not_sent(visitors: Visitors, hub: Asked, token: str) -> None:
    with pytest.raises(UserError, match="does not accept your sign-in"):
        visitors.of(token)
    assert hub.asked == []


def test_who_signed_out_is_not_known_by_that_token_again(visitors: Visitors, hub: Asked) -> None:
    visitors.of("x")
    visitors.sign_out("x")
    for _ in range(2):
        with pytest.raises(UserError, match="signed out"):
            visitors.of("x")
        hub.now += 80_000
    assert hub.asked == ["x"]
    assert visitors.of("another").owner == "ada"


def test_signing_out_while_the_hub_is_asked(hub: Asked) -> None:
    def name_of(token: str) -> str:
        page.sign_out(token)
        return "ada"

    page = Visitors(True, name_of, lambda: hub.now)
    with pytest.raises(UserError, match="signed out"):
        page.of("x")


def test_at_home_there_is_one_user() -> None:
    assert Visitors(on_space=False).of("whatever").owner == LOCAL
    assert Visitors(on_space=False).of(None).token is None
