"""POST and DELETE of /api/{kind}/{id}/tag/{name}."""

from __future__ import annotations

import re

from tests.hub_server.call import Call
from tests.hub_server.messages import HubError, Response, json_response
from tests.hub_server.repo import revision_not_found

# Part of git's rules for the name of a ref, as far as they are about tags.
_FORBIDDEN = re.compile(r"^[-/.]|[\s~^:?*\[\\]|\.\.|//|@\{|[/.]$|\.lock$")


def create_tag(call: Call) -> Response:
    """A name for the commit that the route's revision stands for. It stays: a tag that exists is
    not moved."""
    repo = call.writable_repo()
    name = call.request.json().get("tag")
    if not isinstance(name, str) or not name or _FORBIDDEN.search(name):
        raise HubError(400, f"Invalid tag name: {name!r}")
    with call.hub.store.lock:
        commit = repo.commit(call.revision)
        if name in repo.tags:
            raise HubError(409, f"Tag reference exists already: {name}")
        repo.tags = {**repo.tags, name: commit.oid}
    return json_response({"ref": f"refs/tags/{name}", "targetCommit": commit.oid}, 201)


def delete_tag(call: Call) -> Response:
    """Forget the name; the commit stays."""
    repo = call.writable_repo()
    with call.hub.store.lock:
        if call.revision not in repo.tags:
            raise revision_not_found(call.revision)
        repo.tags = {name: oid for name, oid in repo.tags.items() if name != call.revision}
    return json_response({})
