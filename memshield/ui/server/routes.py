"""ASGI middleware: gradio's routes that the page uses; there are no others."""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from memshield.ui.server.asgi import API, refuse, route_of

_ROUTE = re.compile(
    rf"""
    |/(config|theme\.css|favicon\.ico|manifest\.json|robots\.txt|pwa_icon(/[0-9]+)?)
    |/(login/huggingface|login/callback|logout)
    |/(assets|static|svelte)/.*
    |{API}/(info|app_id|startup-events|theme\.css|file[=/].*)
    |{API}/(queue/(join|data|status)|cancel|reset|heartbeat/[^/]+)
    |{API}/((run|api)/[^/]+|call(/v2)?/[^/]+(/[^/]+)?)
    |{API}/(upload|upload_progress)
    """,
    re.DOTALL | re.VERBOSE,
)


class PageRoutes:
    """Answers 404 where the page asks for nothing.

    gradio has more: `deep_link` keeps what is on a visitor's page for whoever knows its session,
    others take files, fetch addresses or run programs.

    Args:
        app: the next application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse other routes, and every websocket; pass everything else on."""
        is_asked = scope["type"] in ("http", "websocket")
        if is_asked and not (scope["type"] == "http" and _ROUTE.fullmatch(route_of(scope))):
            await refuse(scope, receive, send, 404, "Not found.")
            return
        await self._app(scope, receive, send)
