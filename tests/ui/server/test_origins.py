"""Which requests of a browser are the page's own."""

from __future__ import annotations

import pytest
from starlette.websockets import WebSocketDisconnect

from memshield.ui.server.frames import HubFrames
from memshield.ui.server.origins import OwnOrigin
from tests.ui.server.asking import client, echo

SPACE = "https://ada-memshield.hf.space"
ELSEWHERE = "https://elsewhere.example"
NAVIGATION = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}


@pytest.mark.parametrize(
    ("base", "sent"),
    [
        (SPACE, {}),  # a script
        (SPACE, {"Origin": SPACE, "Sec-Fetch-Site": "same-origin"}),
        (SPACE, {"Sec-Fetch-Site": "same-origin"}),
        (SPACE, {"Origin": SPACE}),
        (SPACE, {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}),
        # The proxy names another host to the server; the browser, or the Space, the right one.
        ("http://10.0.0.7:7860", {"Origin": SPACE}),
        (
            "http://10.0.0.7:7860",
            {"Origin": "https://x.example", "X-Forwarded-Host": "x.example, y"},
        ),
        ("http://localhost:7860", {"Origin": "http://localhost:7860"}),
        ("http://192.168.1.5:7860", {"Origin": "http://192.168.1.5:7860"}),
        ("http://[::1]:7860", {"Origin": "http://[::1]:7860"}),
    ],
)
def test_own(base: str, sent: dict[str, str]) -> None:
    asking = client(OwnOrigin(echo, ["ada-memshield.hf.space"]), base)
    answer = asking.post("/gradio_api/queue/join", content="a", headers=sent)
    assert (answer.status_code, answer.text) == (200, "a")
    # gradio would answer it by headers that let it read.
    assert answer.headers["told-origin"] == "none"


@pytest.mark.parametrize(
    "sent",
    [
        {"Origin": ELSEWHERE},
        {"Origin": ELSEWHERE, "Sec-Fetch-Site": "cross-site"},
        {"Origin": ELSEWHERE, "Sec-Fetch-Site": "same-origin"},
        {"Origin": SPACE, "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": ""},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "https://[", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "https://ada-memshield.hf.space.elsewhere.example"},
        {"Origin": "https://ada-memshield.hf.space:444"},
        {"Origin": "https://elsewhere@ada-memshield.hf.space"},
        NAVIGATION,
        {**NAVIGATION, "Origin": ELSEWHERE},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_foreign(method: str, sent: dict[str, str]) -> None:
    asking = client(OwnOrigin(echo), SPACE)
    for path in ("/gradio_api/queue/data", "/logout", "/config"):
        answer = asking.request(method, path, headers=sent)
        assert answer.status_code == 403, path
        assert "MEMSHIELD_HOST" in answer.json()["detail"]
    socket = SPACE.replace("https:", "wss:") + "/ws"
    with pytest.raises(WebSocketDisconnect), asking.websocket_connect(socket, headers=sent):
        pass


@pytest.mark.parametrize(
    "path", ["/", "/?view=api", "/login/huggingface", "/login/callback?code=a"]
)
def test_links_and_redirects_lead_to_the_page_only(path: str) -> None:
    asking = client(OwnOrigin(echo), SPACE)
    assert asking.get(path, headers=NAVIGATION).status_code == 200
    assert asking.head(path, headers=NAVIGATION).status_code == 200
    # A form of another site, and a fetch that does not need the answer.
    assert asking.post(path, headers=NAVIGATION).status_code == 403
    assert asking.get(path, headers={**NAVIGATION, "Origin": ELSEWHERE}).status_code == 403
    fetched = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert asking.get(path, headers=fetched).status_code == 403


def test_a_websocket_of_the_page_is_let_through() -> None:
    asking = client(OwnOrigin(echo))
    own = {"Origin": "http://localhost:7860"}
    with asking.websocket_connect("ws://localhost:7860/ws", headers=own):
        pass


@pytest.mark.parametrize("hub", ["https://huggingface.co", None])
def test_only_the_hub_frames_the_page(hub: str | None) -> None:
    policy = client(HubFrames(echo, hub)).get("/").headers["content-security-policy"]
    assert policy == ("frame-ancestors 'self' https://huggingface.co" if hub
                      else "frame-ancestors 'self'")  # fmt: skip
