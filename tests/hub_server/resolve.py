"""GET and HEAD of /{id}/resolve/{revision}/{path}: a file, or where to fetch it."""

from __future__ import annotations

import mimetypes

from tests.hub_server.access import require_content
from tests.hub_server.call import Call
from tests.hub_server.messages import HubError, Response
from tests.hub_server.ranges import content_response


def resolve(call: Call) -> Response:
    """Files in git are answered here, those in LFS by a redirect to the content's own origin."""
    repo = call.repo()
    require_content(repo, call.identity)
    commit = repo.commit(call.revision)
    path = call.params["path"]
    # With an error too: clients remember under this commit that it has no such file.
    headers = {"X-Repo-Commit": commit.oid}
    blob = commit.files.get(path)
    if blob is None:
        raise HubError(404, "Entry not found", "EntryNotFound", headers)
    headers["ETag"] = f'"{blob.etag}"'
    if blob.is_lfs:
        headers["X-Linked-ETag"] = f'"{blob.sha256}"'
        headers["X-Linked-Size"] = str(blob.size)
        headers["Location"] = f"{call.hub.content_endpoint}/{blob.sha256}"
        return Response(302, headers, b"Found")
    headers["Content-Type"] = mimetypes.guess_type(path)[0] or "application/octet-stream"
    return content_response(blob.data, call.request.headers.get("range"), headers)
