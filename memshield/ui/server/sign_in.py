"""What lies before the handlers on a Space: whose request it is, by gradio's session."""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send


def token_of(scope: Scope) -> str | None:
    """The token that a request was signed in with; None signed out.

    The session is gradio's: a cookie, signed with the server's secret.
    """
    signed_in = scope.get("session", {}).get("oauth_info")
    token = signed_in.get("access_token") if isinstance(signed_in, dict) else None
    return token if isinstance(token, str) and token else None


class SignedInUploads:
    """Refuses uploads of those who have not signed in (ASGI middleware).

    gradio takes files from whoever reaches the page, before any handler of ours is asked: a
    stranger could fill the disk that trainings need.

    Args:
        app: what comes after it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 to an upload without a sign-in, and hand everything else on."""
        is_upload = scope["type"] == "http" and scope["path"].rstrip("/").endswith("/upload")
        if is_upload and token_of(scope) is None:
            refusal = PlainTextResponse("Sign in above to upload pictures.", status_code=401)
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)


class SigningOut:
    """Has a token forgotten when it is signed out (ASGI middleware).

    gradio only takes it out of the browser's cookie: the server, and whoever has a copy of the
    cookie, could go on using it.

    Args:
        app: what comes after it.
        forget: is given the token.
    """

    def __init__(self, app: ASGIApp, forget: Callable[[str], None]) -> None:
        self._app = app
        self._forget = forget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand everything on, when what is to be forgotten is."""
        if scope["type"] == "http" and scope["path"].rstrip("/").endswith("/logout"):
            token = token_of(scope)
            if token is not None:
                self._forget(token)
        await self._app(scope, receive, send)
