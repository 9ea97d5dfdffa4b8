"""Who may upload files to a Space, and that nobody fetches them from there."""

from __future__ import annotations

import re
from pathlib import Path

import gradio
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_FILE = re.compile(r"/file[=/](.*)", re.DOTALL)
_GRADIO = Path(gradio.__file__).resolve().parent


class SignedInUploads:
    """Refuses uploads of those who have not signed in, and downloads (ASGI middleware).

    gradio takes files from whoever reaches the page, before any handler of ours is asked: a
    stranger could fill the disk that trainings need. The session is gradio's, signed with the
    server's secret. And gradio serves what was uploaded to whoever names its path, which who holds
    the same picture can find out but for its name. The page itself asks for gradio's own icons
    alone: the pictures that it shows are part of its text.

    Args:
        app: what comes after it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 to an upload without a sign-in, 403 to downloads; hand everything else on."""
        path = scope["path"] if scope["type"] == "http" else ""
        file = _FILE.search(path)
        if file and not _is_gradios(file[1]):
            await PlainTextResponse("No files are handed out.", 403)(scope, receive, send)
            return
        if path.rstrip("/").endswith("/upload") and not scope.get("session", {}).get("oauth_info"):
            refusal = PlainTextResponse("Sign in above to upload pictures.", status_code=401)
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _is_gradios(text: str) -> bool:
    """Whether a path, as gradio reads it, leads into gradio's own package."""
    try:
        return Path(text).resolve().is_relative_to(_GRADIO)
    except (OSError, ValueError):  # a name that no file has
        return False
