"""Which of gradio's routes there are."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from memshield.ui.server.routes import PageRoutes
from tests.ui.server.asking import client, echo


@pytest.mark.parametrize("path", [
    "/", "/?view=api", "/config", "/config/", "/assets/a/b.js", "/static/img/a.svg", "/theme.css",
    "/login/huggingface", "/login/callback", "/logout", "/gradio_api/info", "/gradio_api/info/",
    "/gradio_api/queue/join", "/gradio_api/queue/data", "/gradio_api/heartbeat/a",
    "/gradio_api/call/plan", "/gradio_api/call/v2/plan/a", "/gradio_api/run/predict",
    "/gradio_api/upload", "/gradio_api/upload_progress", "/gradio_api/file=/a/b.svg",
])  # fmt: skip
def test_the_pages(path: str) -> None:
    assert client(PageRoutes(echo)).get(path).status_code == 200


@pytest.mark.parametrize("path", [
    "/gradio_api/deep_link?session_hash=a", "/gradio_api/deep_link/", "/gradio_api/%64eep_link",
    "/deep_link", "/gradio_api/process_recording", "/gradio_api/component_server",
    "/gradio_api/proxy=https://a.hf.space", "/gradio_api/stream/a/b/1/playlist.m3u8",
    "/gradio_api/dev/reload", "/gradio_api/vibe-code", "/gradio_api/custom_component/a/client/b/c",
    "/monitoring", "/gradio_api/token", "/openapi.json", "/assetsx/a", "/themeXcss", "/ws",
    "//gradio_api/info", "/gradio_api/info%0A",
])  # fmt: skip
def test_no_other(path: str) -> None:
    asking = client(PageRoutes(echo))
    for method in ("GET", "POST"):
        assert asking.request(method, f"http://localhost{path}").status_code == 404


def test_there_is_no_websocket() -> None:
    with pytest.raises(WebSocketDisconnect), client(PageRoutes(echo)).websocket_connect("/config"):
        pass


def test_a_root_path_is_no_part_of_a_route() -> None:
    asking = TestClient(PageRoutes(echo), root_path="/app")
    for path, status in (("/app/config", 200), ("/app", 200), ("/app/deep_link", 404)):
        assert asking.get(path).status_code == status
