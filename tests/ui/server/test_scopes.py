"""Which rights a sign-in asks for, and whose token may run Jobs."""

from __future__ import annotations

import time
from urllib.parse import parse_qs, urlsplit

import gradio as gr
import pytest
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from memshield.forecast.hardware import this_machine
from memshield.jobs.service import Jobs
from memshield.ui.server.deployment import Deployment
from memshield.ui.server.scopes import AskedScopes
from memshield.ui.server.server import Server
from memshield.ui.server.visitor import Visitors
from tests.ui.server.asking import client

HUB = (
    "https://hub.example/oauth/authorize?client_id=a&state=x%2By&scope=openid+contribute-repos+jobs"
)


async def gradio(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a sign-in as gradio does."""
    answer = RedirectResponse(HUB) if scope["path"].startswith("/login") else Response("page")
    await answer(scope, receive, send)


@pytest.mark.parametrize(
    ("query", "scopes"),
    [
        ("", "openid contribute-repos"),
        ("?_target_url=/", "openid contribute-repos"),
        ("?scope=read-repos", "openid contribute-repos"),
        ("?_target_url=/&scope=jobs", "openid contribute-repos jobs"),
    ],
)
def test_jobs_are_asked_for_only_by_a_sign_in_of_their_own(query: str, scopes: str) -> None:
    answer = client(AskedScopes(gradio)).get(f"/login/huggingface{query}")
    found = urlsplit(answer.headers["location"])
    assert found.netloc == "hub.example"
    assert parse_qs(found.query) == {"client_id": ["a"], "state": ["x+y"], "scope": [scopes]}


def test_other_answers_are_left_as_they_are() -> None:
    assert client(AskedScopes(gradio)).get("/").text == "page"


def test_only_a_token_with_the_right_runs_jobs(jobs: Jobs) -> None:
    place = Deployment(True, jobs.folders.root, None)
    server = Server(place, jobs, Visitors(True, lambda token: "ada"), this_machine())
    expires = int(time.time() + 1000)
    server.owner(gr.OAuthToken(token="plain", scope="openid profile", expires_at=expires))
    assert jobs.places.token_of("ada") is None
    server.owner(gr.OAuthToken(token="able", scope="openid jobs", expires_at=expires))
    # Another browser of hers, without it, does not take it away.
    server.owner(gr.OAuthToken(token="plain", scope="openid profile", expires_at=expires))
    assert jobs.places.token_of("ada") == "able"
    assert jobs.places.token_of("bob") is None
    server.sign_out("able")
    assert jobs.places.token_of("ada") is None
