"""That nobody fetches files from a Space."""

from __future__ import annotations

import re
from pathlib import Path

import gradio
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_FILE = re.compile(r"/file[=/](.*)", re.DOTALL)
_GRADIO = Path(gradio.__file__).resolve().parent


class NoDownloads:
    """Refuses files but for gradio's own icons (ASGI middleware).

    gradio serves what was uploaded to whoever names its path, which who holds the same picture
    can find out but for its name. The page needs none: the pictures that it shows are part of its
    text.

    Args:
        app: what comes after it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 to a download, and hand everything else on."""
        file = _FILE.search(scope["path"]) if scope["type"] == "http" else None
        if file and not _is_gradios(file[1]):
            await PlainTextResponse("No files are handed out.", 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _is_gradios(text: str) -> bool:
    """Whether a path, as gradio reads it, leads into gradio's own package."""
    try:
        return Path(text).resolve().is_relative_to(_GRADIO)
    except (OSError, ValueError):  # a name that no file has
        return False
