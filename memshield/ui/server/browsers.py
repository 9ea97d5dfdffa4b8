"""The cookie by which the server of a Space tells browsers apart, signed in or not."""

from __future__ import annotations

import re
import secrets

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import Message, Scope, Send

COOKIE = "__Host-browser"
_VALUE = re.compile(r"[A-Za-z0-9_-]{43}")


def browser_of(scope: Scope) -> str | None:
    """The browser that sent a request; None for one without the cookie."""
    value = HTTPConnection(scope).cookies.get(COOKIE, "")
    return value if _VALUE.fullmatch(value) else None


def new_browser() -> str:
    """A name that nobody can guess, so that it needs no signature."""
    return secrets.token_urlsafe(32)


def giving_cookie(send: Send, browser: str) -> Send:
    """Wrap `send` so that the answer names the browser.

    A page in a frame of the Hub's is a third party there: `Partitioned` lets the cookie through
    where browsers block those.
    """
    cookie = f"{COOKIE}={browser}; Path=/; Secure; HttpOnly; SameSite=None; Partitioned"

    async def with_cookie(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).append("Set-Cookie", cookie)
        await send(message)

    return with_cookie
