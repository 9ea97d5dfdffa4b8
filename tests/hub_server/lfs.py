"""/{id}.git/info/lfs: where to send large files, and whether they have arrived."""

from __future__ import annotations

import re
from typing import Any

from tests.hub_server.call import Call
from tests.hub_server.messages import HubError, Response, json_response
from tests.hub_server.quota import no_room
from tests.hub_server.signing import Upload, upload_url

LFS_JSON = {"Content-Type": "application/vnd.git-lfs+json"}
_SHA256 = re.compile(r"[0-9a-f]{64}")


def lfs_batch(call: Call) -> Response:
    """An upload link for each file; none for what the repo has, an error for what is too much."""
    repo = call.writable_repo()
    payload = call.request.json()
    if payload.get("operation") != "upload" or payload.get("hash_algo", "sha256") != "sha256":
        raise HubError(400, "this Hub takes uploads addressed by sha256 only")
    verify = {"href": f"{call.hub.endpoint}/{repo.path}.git/info/lfs/verify"}
    answers: list[dict[str, object]] = []
    promised = 0
    for found in payload.get("objects", []):
        sha256, size = _object(found)
        answer: dict[str, object] = {"oid": sha256, "size": size}
        if sha256 not in repo.lfs:
            promised += size
            refusal = no_room(call.hub.store, repo, promised)
            if refusal is None:
                upload = {"href": upload_url(call.hub, Upload(repo, sha256, size))}
                answer |= {"authenticated": True, "actions": {"upload": upload, "verify": verify}}
            else:
                answer["error"] = {"code": 403, "message": refusal}
        answers.append(answer)
    return json_response({"transfer": "basic", "objects": answers}, headers=LFS_JSON)


def lfs_verify(call: Call) -> Response:
    """Whether the file is there in full."""
    repo = call.writable_repo()
    sha256, size = _object(call.request.json())
    blob = repo.lfs.get(sha256)
    if blob is None or blob.size != size:
        raise HubError(404, f"no content of sha256 {sha256} and {size} bytes was uploaded")
    return json_response({}, headers=LFS_JSON)


def _object(found: Any) -> tuple[str, int]:
    named = found if isinstance(found, dict) else {}
    sha256, size = named.get("oid"), named.get("size")
    is_hash = isinstance(sha256, str) and _SHA256.fullmatch(sha256) is not None
    if not is_hash or not isinstance(size, int) or size < 0:
        raise HubError(400, f"an object must have a sha256 as oid and a size, got {found!r}")
    return str(sha256), size
