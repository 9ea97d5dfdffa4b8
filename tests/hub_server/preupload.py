"""POST /api/{kind}/{id}/preupload/{revision}: how each file is to be sent."""

from __future__ import annotations

from typing import Any

from tests.hub_server.blobs import is_lfs
from tests.hub_server.call import Call
from tests.hub_server.messages import HubError, Response, json_response


def preupload(call: Call) -> Response:
    """Whether each file goes to git or LFS, and the hash of what is there already, by which
    clients leave out what has not changed."""
    repo = call.writable_repo()
    refuse_pull_request(call)
    commit = repo.commit(call.revision)
    answers = []
    for file in _files(call):
        path, size = file["path"], file["size"]
        mode = "lfs" if is_lfs(repo.repo_type, path, size) else "regular"
        answer = {"path": path, "uploadMode": mode, "shouldIgnore": False}
        if path in commit.files:
            answer["oid"] = commit.files[path].etag
        answers.append(answer)
    return json_response({"files": answers, "commitOid": commit.oid})


def refuse_pull_request(call: Call) -> None:
    """There are none here, and a commit to the branch itself is not what was asked for."""
    if call.request.flag("create_pr"):
        raise HubError(400, "this Hub has no pull requests")


def _files(call: Call) -> list[dict[str, Any]]:
    files = call.request.json().get("files")
    if not isinstance(files, list) or not all(
        isinstance(file, dict)
        and isinstance(file.get("path"), str)
        and isinstance(file.get("size"), int)
        for file in files
    ):
        raise HubError(400, "files must be a list of objects with path, sample and size")
    return files
