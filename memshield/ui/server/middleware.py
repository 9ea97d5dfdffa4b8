"""ASGI middleware of a Space: uploads need a sign-in, signing out is final, no file is served."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import gradio
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_FILE = re.compile(r"/file[=/](.*)", re.DOTALL)
_GRADIO = Path(gradio.__file__).resolve().parent


class SignedInUploads:
    """Refuses uploads without a sign-in.

    gradio accepts files from anyone who reaches the page, before it calls any handler of ours: a
    stranger could fill the disk that trainings need.

    Args:
        app: the next application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 to an upload without a sign-in, and pass everything else on."""
        is_upload = scope["type"] == "http" and scope["path"].rstrip("/").endswith("/upload")
        if is_upload and token_of(scope) is None:
            refusal = PlainTextResponse("Sign in above to upload pictures.", status_code=401)
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)


class SigningOut:
    """Makes the server forget a token when its visitor signs out.

    gradio only removes it from the browser's cookie: the server, and whoever has a copy of the
    cookie, could go on using it.

    Args:
        app: the next application.
        forget: takes the token.
    """

    def __init__(self, app: ASGIApp, forget: Callable[[str], None]) -> None:
        self._app = app
        self._forget = forget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forget the token of a visitor who signs out, and pass every request on."""
        if scope["type"] == "http" and scope["path"].rstrip("/").endswith("/logout"):
            token = token_of(scope)
            if token is not None:
                self._forget(token)
        await self._app(scope, receive, send)


class NoDownloads:
    """Refuses every file except gradio's own icons.

    gradio serves an uploaded file to anyone who knows its path, and whoever holds the same
    picture can work out all of the path but the name. The page needs no files: the pictures that
    it shows are part of its text.

    Args:
        app: the next application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 to a download, and pass everything else on."""
        file = _FILE.search(scope["path"]) if scope["type"] == "http" else None
        if file and not _is_of_gradio(file[1]):
            await PlainTextResponse("No files are handed out.", 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def token_of(scope: Scope) -> str | None:
    """The token of a signed-in request, or None.

    The session is gradio's: a cookie that is signed with the server's secret.
    """
    signed_in = scope.get("session", {}).get("oauth_info")
    token = signed_in.get("access_token") if isinstance(signed_in, dict) else None
    return token if isinstance(token, str) and token else None


def _is_of_gradio(text: str) -> bool:
    """Whether a path, as gradio reads it, leads into gradio's own package."""
    try:
        return Path(text).resolve().is_relative_to(_GRADIO)
    except (OSError, ValueError):  # not a possible file name
        return False
