"""The Hub's own origin: the routing table, and the way from a request to an answer."""

from __future__ import annotations

from tests.hub_server.access import identify
from tests.hub_server.account import whoami
from tests.hub_server.call import Call, Handler, Hub
from tests.hub_server.hardware import list_hardware
from tests.hub_server.info import auth_check, repo_info, repo_refs
from tests.hub_server.listing import list_repos
from tests.hub_server.messages import HubError, Request, Response
from tests.hub_server.resolve import resolve
from tests.hub_server.routing import Route, find_route
from tests.hub_server.tree import list_tree, paths_info

READ = ("GET", "HEAD")

ROUTES: tuple[Route[Handler], ...] = (
    Route(READ, "/api/whoami-v2", whoami),
    Route(READ, "/api/spaces/hardware", list_hardware),
    Route(READ, "/api/jobs/hardware", list_hardware),
    Route(READ, "/api/{kind}", list_repos),
    Route(READ, "/api/{kind}/{repo}", repo_info),
    Route(READ, "/api/{kind}/{repo}/revision/{revision}", repo_info),
    Route(READ, "/api/{kind}/{repo}/refs", repo_refs),
    Route(READ, "/api/{kind}/{repo}/auth-check", auth_check),
    Route(READ, "/api/{kind}/{repo}/tree/{revision}", list_tree),
    Route(READ, "/api/{kind}/{repo}/tree/{revision}/{path}", list_tree),
    Route(("POST",), "/api/{kind}/{repo}/paths-info/{revision}", paths_info),
    Route(READ, "/{prefix}{repo}/resolve/{revision}/{path}", resolve),
)


def answer(hub: Hub, request: Request) -> Response:
    """Who is asking, which handler, its answer or its error."""
    try:
        user = identify(hub.store, request.headers.get("authorization"))
        handler, params = find_route(ROUTES, request.method, request.path)
        return handler(Call(hub, request, params, user))
    except HubError as error:
        return error.response()
