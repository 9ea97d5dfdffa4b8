"""The second origin, where LFS content lies: what signed storage links are on the real Hub."""

from __future__ import annotations

from tests.hub_server.blobs import Blob
from tests.hub_server.buckets.calls import CONTENT, bucket_content
from tests.hub_server.call import Hub
from tests.hub_server.messages import HubError, Request, Response
from tests.hub_server.ranges import content_response
from tests.hub_server.signing import signed_upload


def answer_content(hub: Hub, request: Request) -> Response:
    """The content that a path names by its hash, or a place to put it."""
    try:
        if "authorization" in request.headers:
            # Storage refuses two ways of authentication at once; and a token sent here has leaked.
            raise HubError(400, "Authorization must not be sent to this origin")
        if request.path.startswith(CONTENT):
            return bucket_content(hub, request)
        if request.method == "PUT":
            return _put(hub, request)
        if request.method in {"GET", "HEAD"}:
            return _get(hub, request)
        raise HubError(405, f"{request.method} is not allowed here")
    except HubError as error:
        return error.response()


def _get(hub: Hub, request: Request) -> Response:
    sha256 = request.path.removeprefix("/")
    blob = hub.store.lfs(sha256)
    if blob is None:
        raise HubError(404, "no such content")
    headers = {"ETag": f'"{sha256}"', "Content-Type": "application/octet-stream"}
    return content_response(blob.data, request.headers.get("range"), headers)


def _put(hub: Hub, request: Request) -> Response:
    upload = signed_upload(hub, request)
    blob = Blob(request.body, is_lfs=True)
    if blob.size != upload.size:
        raise HubError(400, f"the link is for {upload.size} bytes, got {blob.size}")
    if blob.sha256 != upload.sha256:
        raise HubError(400, f"the link is for content of sha256 {upload.sha256}, got another")
    hub.store.add_lfs(upload.repo, blob)
    return Response(200, {"ETag": f'"{blob.sha256}"'})
