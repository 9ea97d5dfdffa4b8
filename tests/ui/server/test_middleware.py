"""What lies before the handlers on a Space: signing out is meant."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gradio as gr
import pytest
from starlette.types import Message, Receive, Scope, Send

from memshield import redaction
from memshield.errors import UserError
from memshield.forecast.hardware import this_machine
from memshield.hub.account import api_for
from memshield.jobs.service import Jobs
from memshield.ui.server.deployment import Deployment
from memshield.ui.server.middleware import SigningOut
from memshield.ui.server.server import Server
from memshield.ui.server.visitor import Visitors
from tests.jobs.children import DEMO, view

ADAS = "adas token, of no shape that is known".replace(" ", "_")
PUBLISHED = {**DEMO, "push_to_hub": True, "hub_model_id": "ada/x"}


@pytest.fixture
def server(jobs: Jobs) -> Server:
    place = Deployment(True, jobs.folders.root, None)
    return Server(place, jobs, Visitors(True, lambda token: "ada"), this_machine())


def token(value: str = ADAS, seconds: float = 1000.0) -> gr.OAuthToken:
    return gr.OAuthToken(token=value, scope="", expires_at=int(time.time() + seconds))


def asks(server: Server, path: str, session: dict[str, Any]) -> list[str]:
    """What comes through to the page."""
    came = []

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        came.append(scope["path"])

    async def nothing(*message: Message) -> Any:
        return None

    scope = {"type": "http", "path": path, "session": session}
    request = SigningOut(page, server.sign_out)(scope, nothing, nothing)
    # In a thread: this one's event loop may be a browser's.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, request).result()
    return came


def test_signing_out_forgets_the_token(server: Server) -> None:
    assert server.owner(token()) == "ada"
    job = server.jobs.submit("ada", PUBLISHED)
    assert view(server.jobs, job).training.state == "waiting"
    session = {"oauth_info": {"access_token": ADAS}}
    assert asks(server, "/gradio_api/queue/join", session)
    assert server.jobs.tokens.of("ada") == ADAS
    assert asks(server, "/logout", session) == ["/logout"]
    assert server.jobs.tokens.of("ada") is None
    assert view(server.jobs, job).training.state == "needs_sign_in"
    # Nor is it taken from whoever has a copy of the cookie, or a request that was under way.
    with pytest.raises(UserError, match="signed out"):
        server.owner(token())
    assert server.jobs.tokens.of("ada") is None
    assert server.owner(token("the next sign-in's".replace(" ", "_"))) == "ada"
    assert view(server.jobs, job).training.state == "waiting"


def test_who_is_signed_in_elsewhere_too_stays_so(server: Server) -> None:
    server.owner(token())
    server.owner(token("elsewhere"))
    assert asks(server, "/logout/", {"oauth_info": {"access_token": ADAS}})
    assert server.jobs.tokens.of("ada") == "elsewhere"


@pytest.mark.parametrize(
    "session", [{}, {"oauth_info": None}, {"oauth_info": {}}, {"oauth_info": {"access_token": 1}}]
)
def test_who_is_not_signed_in_signs_nobody_out(server: Server, session: dict[str, Any]) -> None:
    server.owner(token())
    assert asks(server, "/logout", session) == ["/logout"]
    assert server.jobs.tokens.of("ada") == ADAS


def test_a_token_is_kept_while_it_is_good_and_for_a_day_at_most(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    kept: list[float] = []
    monkeypatch.setattr(server.jobs.tokens, "keep", lambda owner, token, until: kept.append(until))
    without = gr.OAuthToken(token=ADAS, scope="", expires_at=0)
    for sent in (token(seconds=60), token(seconds=8 * 3600), token(seconds=1e6), without):
        server.owner(sent)
    seconds = [round((until - now) / 60) for until in kept]
    assert seconds == [1, 8 * 60, 24 * 60, 60]


def test_no_token_of_a_visitor_is_redacted_for_ever(server: Server) -> None:
    """Else all of them would be kept until the server ends, and whatever is made up."""
    assert api_for("made-up").token == "made-up"
    assert redaction.redact("made-up") == "made-up"
    server.owner(token())
    assert redaction.redact(f"it is {ADAS}.") == f"it is {redaction.HIDDEN}."
    assert api_for(ADAS).token == ADAS
    server.sign_out(ADAS)
    assert redaction.redact(ADAS) == ADAS
