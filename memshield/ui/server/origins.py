"""ASGI middleware: of all pages in a browser, only this one calls its server."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from memshield.ui.server.asgi import refuse, route_of

_OPENED = ("", "/login/huggingface", "/login/callback")
"""What other sites may open: the page, and what the Hub sends visitors back to. Not signing out."""


class OwnOrigin:
    """Refuses what pages of other origins ask for.

    gradio answers every origin, with credentials, and its cookie comes along from every site: a
    page that a signed-in visitor opens beside this one could call it in the visitor's name.

    A browser tells where a request comes from. `Sec-Fetch-Site` is in every request over https
    or to a loopback address, `Origin` in every one that changes something or whose answer can be
    read. A request with neither is not a browser's: scripts have no cookies that somebody else
    can use, so they are let through.

    Args:
        app: the next application.
        hosts: of the page, besides those that a request itself names.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = ()) -> None:
        self._app = app
        self._hosts = {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 to a foreign page, and pass everything else on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not (_opens_the_page(scope, headers) or self._is_own(headers)):
            reason = (
                "Only the page itself may call its server. If this is the page, name the host "
                "in its address: MEMSHIELD_HOST."
            )
            await refuse(scope, receive, send, 403, reason)
            return
        # gradio would allow the origin to read the answer.
        own = [(name, value) for name, value in scope["headers"] if name != b"origin"]
        await self._app({**scope, "headers": own}, receive, send)

    def _is_own(self, headers: Headers) -> bool:
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        # None stands for a visitor who typed the address.
        if site is not None and site not in ("same-origin", "none"):
            return False
        if origin is None:
            return True
        # A page of another origin can set neither of them. The second is the proxy's.
        named = (headers.get("host", ""), headers.get("x-forwarded-host", "").partition(",")[0])
        return _host_of(origin) in self._hosts | {host.strip().lower() for host in named if host}


def _opens_the_page(scope: Scope, headers: Headers) -> bool:
    """Whether a browser goes to the page itself, by a link or in a frame of the Hub's."""
    return (
        scope["type"] == "http"
        and scope["method"] in ("GET", "HEAD")
        and headers.get("sec-fetch-mode") == "navigate"
        and "origin" not in headers
        and route_of(scope) in _OPENED
    )


def _host_of(origin: str) -> str | None:
    """The host in an origin, with its port; None for an opaque one."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None
