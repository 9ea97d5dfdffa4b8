"""ASGI middleware at home: the page answers under its own names only."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from memshield.ui.server.asgi import refuse


class OwnHost:
    """Refuses requests for another name than the page's.

    A foreign page can have its own name lead to this machine (DNS rebinding): to the browser,
    both are one origin then. It cannot do so with an address, or a loopback name.

    Args:
        app: the next application.
        hosts: further names of the page; a port after a name does not matter.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = ()) -> None:
        self._app = app
        self._names = {name_of(host) for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 421 to a request for an unknown name, and pass everything else on."""
        if scope["type"] in ("http", "websocket"):
            host = Headers(scope=scope).get("host", "")
            name = name_of(host)
            # Every browser sends a host.
            if host and not (name in self._names or _is_loopback(name) or _is_address(name)):
                reason = (
                    f"This page does not answer as {name}. Open it as localhost, or start it with "
                    f"MEMSHIELD_HOST={host}."
                )
                await refuse(scope, receive, send, 421, reason)
                return
        await self._app(scope, receive, send)


def name_of(host: str) -> str:
    """The name in a host, without its port."""
    name, colon, port = host.strip().lower().rpartition(":")
    return (name if colon and port.isdecimal() else host.strip().lower()).rstrip(".")


def _is_loopback(name: str) -> bool:
    return name == "localhost" or name.endswith(".localhost")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
