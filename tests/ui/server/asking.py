"""Requests to a middleware, in the test's own process."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """What lies behind the middleware: answers the body, with the origin that it was told."""
    if scope["type"] == "websocket":
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        await socket.close()
        return
    request = Request(scope, receive)
    told = {"told-origin": request.headers.get("origin", "none")}
    await Response(await request.body(), headers=told)(scope, receive, send)


def client(app: ASGIApp, base: str = "http://localhost:7860") -> TestClient:
    """A client of an application."""
    return TestClient(app, base, follow_redirects=False)
