"""POST /api/repos/create, and PUT /api/{kind}/{id}/settings: a repo, and who may see it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast, get_args

from tests.hub_server.access import require_create, require_identity
from tests.hub_server.blobs import LFS_SUFFIXES, Blob
from tests.hub_server.call import Call
from tests.hub_server.commit import Commit
from tests.hub_server.messages import HubError, Response, json_response
from tests.hub_server.repo import MAIN, Repo, RepoType
from tests.hub_server.repo_json import repo_key

_NAME = re.compile(r"(?![-.])[\w.-]{1,96}(?<![-.])", re.ASCII)
_RULES = "".join(
    f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in sorted(LFS_SUFFIXES)
)


def create_repo(call: Call) -> Response:
    """A repo with one commit, under the user's own name or that of an org of theirs."""
    payload = call.request.json()
    repo_type = _valid_type(payload.get("type") or "model")
    namespace = payload.get("organization") or require_identity(call.identity).user.name
    identity = require_create(namespace, call.identity)
    repo_id = f"{namespace}/{_valid_name(payload.get('name'))}"
    is_private = _is_private(payload, default=False)
    store = call.hub.store
    with store.lock:
        existing = store.repo(repo_type, repo_id)
        if existing is not None:
            message = f"You already created this {repo_type} repo: {repo_id}"
            raise HubError(409, message, payload=_address(call, existing))
        now = store.tick()
        repo = Repo(repo_type, repo_id, is_private, False, 0, 0, now, now, identity.token.client_id)
        rules = Blob(_RULES.encode(), is_lfs=False)
        repo.add_commit(Commit({".gitattributes": rules}, title="initial commit"), branch=MAIN)
        store.add_repo(repo)
    return json_response(_address(call, repo))


def change_settings(call: Call) -> Response:
    """Change who may see the repo, and who may read it."""
    repo = call.writable_repo()
    payload = call.request.json()
    unknown = sorted(payload.keys() - {"visibility", "private", "gated"})
    if unknown:
        raise HubError(400, f"this Hub has no repo setting {', '.join(unknown)}")
    gated = payload.get("gated", "manual" if repo.gated else False)
    if gated not in {"auto", "manual", False}:
        raise HubError(400, f"gated must be auto, manual or false, got {gated!r}")
    repo.private = _is_private(payload, default=repo.private)
    repo.gated = bool(gated)
    return json_response({"private": repo.private, "gated": gated})


def _valid_type(name: object) -> RepoType:
    for repo_type in get_args(RepoType):
        if name == repo_type:
            return cast(RepoType, repo_type)
    raise HubError(400, f"type must be one of {get_args(RepoType)} here, got {name!r}")


def _valid_name(name: object) -> str:
    is_valid = isinstance(name, str) and _NAME.fullmatch(name) is not None
    if not is_valid or "--" in str(name) or ".." in str(name) or str(name).endswith(".git"):
        raise HubError(400, f"Invalid repo name: {name!r}")
    return str(name)


def _is_private(payload: Mapping[str, Any], *, default: bool) -> bool:
    visibility = payload.get("visibility")
    if visibility is None:
        return bool(payload.get("private", default))
    if visibility not in {"public", "private"}:
        raise HubError(400, f"visibility must be public or private, got {visibility!r}")
    return bool(visibility == "private")


def _address(call: Call, repo: Repo) -> dict[str, object]:
    url = f"{call.hub.endpoint}/{repo.path}"
    return {"url": url, "name": repo.repo_id, "id": repo_key(repo)}
