"""What the server's middleware shares: the route of a request, and its refusal."""

from __future__ import annotations

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketClose

API = "/gradio_api"
"""gradio's own prefix."""


def route_of(scope: Scope) -> str:
    """A request's path below the root path, without a slash at its end; "" for the page."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    if path == root or path.startswith(f"{root}/"):
        path = path.removeprefix(root)
    return path.rstrip("/")


async def refuse(scope: Scope, receive: Receive, send: Send, status: int, reason: str) -> None:
    """Answer a request, or a websocket, by a refusal that gradio's clients show in words."""
    if scope["type"] == "websocket":
        await WebSocketClose(code=1008, reason=reason)(scope, receive, send)
    else:
        await JSONResponse({"detail": reason}, status)(scope, receive, send)
