"""The page's application: gradio's, behind what every request must pass first."""

from __future__ import annotations

from collections.abc import Sequence

from gradio.routes import App, ORJSONResponse
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.types import ASGIApp

from memshield.ui.server.belongings import Belongings
from memshield.ui.server.frames import HubFrames
from memshield.ui.server.hosts import OwnHost
from memshield.ui.server.middleware import NoDownloads, SignedInUploads, SigningOut
from memshield.ui.server.origins import OwnOrigin
from memshield.ui.server.own_calls import OwnCalls
from memshield.ui.server.routes import PageRoutes
from memshield.ui.server.scopes import AskedScopes
from memshield.ui.server.server import Server


class Application(App):
    """gradio's application with middleware of ours.

    Args:
        outside: comes before gradio's own middleware, which answers foreign origins.
        inside: comes after it, and knows the session.
    """

    def __init__(self, outside: Sequence[Middleware], inside: Sequence[Middleware]) -> None:
        super().__init__(default_response_class=ORJSONResponse, middleware=list(inside))
        self._outside = outside

    def build_middleware_stack(self) -> ASGIApp:
        """Put the outer middleware around everything, and keep the session to its place."""
        for one in self.user_middleware:
            made: object = one.cls
            if made is SessionMiddleware:
                # Sent in the page's own window, or in the Hub's frame in which it was set, and
                # never to another site. Browsers that block third parties take it in the frame.
                one.kwargs["partitioned"] = True
        stack = super().build_middleware_stack()
        for one in reversed(self._outside):
            stack = one.cls(stack, *one.args, **one.kwargs)
        return stack


def application(server: Server) -> Application:
    """Build the application of a deployment."""
    deployment = server.deployment
    outside = [
        Middleware(HubFrames, hub=deployment.hub),
        Middleware(OwnOrigin, hosts=deployment.hosts),
        Middleware(PageRoutes),
    ]
    if not deployment.on_space:
        # One user, no sign-in, no cookie: who reaches the server is the user. On a Space a
        # foreign name has none of a visitor's cookies, and the Hub asks by address whether it runs.
        return Application([Middleware(OwnHost, hosts=deployment.hosts), *outside], [])
    inside = [
        Middleware(AskedScopes),
        Middleware(SignedInUploads),
        Middleware(NoDownloads),
        Middleware(SigningOut, forget=server.sign_out),
        Middleware(OwnCalls, belongings=Belongings()),
    ]
    return Application(outside, inside)
