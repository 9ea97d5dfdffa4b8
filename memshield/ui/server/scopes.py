"""ASGI middleware of a Space: a sign-in asks for the right to run Jobs only where it is needed."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

JOBS_SCOPE = "jobs"
_LOGIN = "/login/huggingface"


class AskedScopes:
    """Leaves the scope of Jobs out of a sign-in, unless its query asks for it.

    gradio asks every visitor for all scopes of the Space's front matter. Which of them are asked
    for stands in the redirect to the Hub, and the token that comes back says what was granted.

    Args:
        app: the next application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Change the redirect to the Hub's sign-in, and pass everything else on."""
        if scope["type"] != "http" or not scope["path"].rstrip("/").endswith(_LOGIN):
            await self._app(scope, receive, send)
            return
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        if JOBS_SCOPE in query.get("scope", []):
            await self._app(scope, receive, send)
            return

        async def changed(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                if "location" in headers:
                    headers["location"] = without_jobs(headers["location"])
                    message["headers"] = headers.raw
            await send(message)

        await self._app(scope, receive, changed)


def without_jobs(address: str) -> str:
    """The address of a sign-in that does not ask for the scope of Jobs."""
    parts = urlsplit(address)
    asked = [
        (name, " ".join(one for one in value.split() if one != JOBS_SCOPE))
        if name == "scope"
        else (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
    ]
    return parts._replace(query=urlencode(asked)).geturl()
