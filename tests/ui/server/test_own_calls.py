"""Whose the ids and paths are that requests name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from memshield.ui.server.belongings import Belongings
from memshield.ui.server.browsers import COOKIE, new_browser
from memshield.ui.server.own_calls import OwnCalls
from tests.ui.server.asking import client

API = "/gradio_api"
UPLOAD = f"/tmp/gradio/{'a1' * 32}/a picture.png"


def test_an_id_is_of_whoever_uses_it_first() -> None:
    belongings = Belongings()
    assert belongings.claim("ada", "a") and belongings.claim("ada", "a")
    assert not belongings.claim("bob", "a")
    assert belongings.claim("bob", "b")
    assert not belongings.claim("bob", "") and not belongings.claim("bob", "b" * 129)


def test_memory_is_bounded_and_keeps_what_is_in_use() -> None:
    belongings = Belongings(most=3)
    for id in "abcad":  # a is in use
        assert belongings.claim("ada", id)
        belongings.give("ada", id)
    assert [path for path in "abcd" if belongings.has("ada", path)] == ["a", "c", "d"]
    assert not belongings.has("bob", "a")
    assert [belongings.claim("bob", id) for id in "acdb"] == [False, False, False, True]


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """What lies behind: answers what it is asked to, or the body as it came."""
    content = await Request(scope, receive).body()
    if content.startswith(b'{"answer"'):
        content = json.dumps(json.loads(content)["answer"]).encode()
    await Response(content)(scope, receive, send)


@pytest.fixture
def app() -> OwnCalls:
    return OwnCalls(answer, Belongings())


def browser(app: OwnCalls) -> TestClient:
    made = client(app, "https://localhost")
    made.headers["Cookie"] = f"{COOKIE}={new_browser()}"
    return made


def told(asking: TestClient, path: str, answer: Any) -> None:
    """Let the server answer something."""
    assert asking.post(f"{API}/{path}", json={"answer": answer}).json() == answer


def test_a_browser_is_named_once(app: OwnCalls) -> None:
    asking = client(app, "https://localhost")
    first = asking.get("/config").headers["set-cookie"]
    name, _, value = first.partition(";")[0].partition("=")
    assert name == COOKIE and len(value) == 43
    assert {"Secure", "HttpOnly", "SameSite=None", "Partitioned", "Path=/"} <= set(
        first.split("; ")
    )
    asking.headers["Cookie"] = f"{name}={value}"
    assert "set-cookie" not in asking.get("/").headers
    asking.headers["Cookie"] = f"{name}=made-up"
    assert "set-cookie" in asking.get("/").headers
    assert "set-cookie" not in client(app).get("/assets/a.js").headers


@pytest.mark.parametrize("path", ["call/plan", "call/v2/plan", "queue/join"])
def test_the_id_of_a_call_is_of_who_was_told(app: OwnCalls, path: str) -> None:
    ada, bob = browser(app), browser(app)
    told(ada, path, {"event_id": "e"})
    for asked in ("call/plan/e", "call/v2/plan/e", "queue/data?session_hash=e", "heartbeat/e"):
        assert bob.get(f"{API}/{asked}").status_code == 403
        assert ada.get(f"{API}/{asked}").status_code == 200
    # The name of an endpoint is nobody's.
    told(bob, path, {"event_id": "another"})


def test_a_request_that_is_refused_tells_nothing(app: OwnCalls) -> None:
    ada, bob = browser(app), browser(app)
    assert ada.post(f"{API}/queue/join", json={"session_hash": "s"}).status_code == 200
    refused = bob.post(f"{API}/queue/join", json={"session_hash": "s", "data": ["secret"]})
    assert refused.status_code == 403
    assert "Reload the page" in refused.json()["detail"] and "secret" not in refused.text


@pytest.mark.parametrize("written", [
    UPLOAD, f"https://localhost{API}/file={UPLOAD}", UPLOAD.replace("/tmp/", "/tmp/../tmp/"),
    UPLOAD.replace("/a picture", "/../a picture"), UPLOAD.replace("a picture", "other"),
])  # fmt: skip
def test_a_path_is_of_who_was_given_it(app: OwnCalls, written: str) -> None:
    ada, bob = browser(app), browser(app)
    told(ada, "upload", [UPLOAD])
    body = {"data": [[{"a": ["b", {"path": written}]}]]}
    assert bob.post(f"{API}/queue/join", json=body).status_code == 403
    as_it_is = written.endswith(f"={UPLOAD}") or written == UPLOAD
    assert ada.post(f"{API}/queue/join", json=body).status_code == (200 if as_it_is else 403)
    told(bob, "upload", [UPLOAD])
    assert bob.post(f"{API}/queue/join", json={"data": [UPLOAD]}).status_code == 200


def test_what_is_no_call_passes_as_it_is(app: OwnCalls) -> None:
    asking = browser(app)
    for content in (b"", b"no JSON", b"\xff", b"[1, {}]", b'{"session_hash": 1}', b"9" * 100_000):
        assert asking.post(f"{API}/queue/join", content=content).content == content
