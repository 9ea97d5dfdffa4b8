"""ASGI middleware: whose pages may show this one in a frame."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HubFrames:
    """Lets only the Hub, and the page itself, show the page in a frame.

    Any other page could lay it invisibly below the visitor's pointer, and have it clicked.

    Args:
        app: the next application.
        hub: origin of the Hub that shows a Space; None at home.
    """

    def __init__(self, app: ASGIApp, hub: str | None) -> None:
        self._app = app
        self._policy = f"frame-ancestors 'self' {hub or ''}".rstrip()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the policy to every answer."""

        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = self._policy
            await send(message)

        await self._app(scope, receive, with_policy)
