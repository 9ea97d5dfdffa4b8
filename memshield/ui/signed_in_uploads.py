"""Who may upload files to a Space."""

from __future__ import annotations

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class SignedInUploads:
    """Refuses uploads of those who have not signed in (ASGI middleware).

    gradio takes files from whoever reaches the page, before any handler of ours is asked: a
    stranger could fill the disk that trainings need. The session is gradio's, signed with the
    server's secret.

    Args:
        app: what comes after it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 to an upload without a sign-in, and hand everything else on."""
        is_upload = scope["type"] == "http" and scope["path"].rstrip("/").endswith("/upload")
        if is_upload and not scope.get("session", {}).get("oauth_info"):
            refusal = PlainTextResponse("Sign in above to upload pictures.", status_code=401)
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)
