"""The second origin, where LFS content lies: what signed storage links are on the real Hub."""

from __future__ import annotations

from tests.hub_server.messages import HubError, Request, Response
from tests.hub_server.ranges import content_response
from tests.hub_server.store import Store


def answer_content(store: Store, request: Request) -> Response:
    """The content that a path names by its hash."""
    try:
        if "authorization" in request.headers:
            # Storage refuses two ways of authentication at once; and a token sent here has leaked.
            raise HubError(400, "Authorization must not be sent to this origin")
        if request.method not in {"GET", "HEAD"}:
            raise HubError(405, f"{request.method} is not allowed here")
        sha256 = request.path.removeprefix("/")
        data = store.lfs_content(sha256)
        if data is None:
            raise HubError(404, "no such content")
        headers = {"ETag": f'"{sha256}"', "Content-Type": "application/octet-stream"}
        return content_response(data, request.headers.get("range"), headers)
    except HubError as error:
        return error.response()
