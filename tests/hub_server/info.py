"""GET /api/{models,datasets}/{id} and what else describes one repo."""

from __future__ import annotations

from tests.hub_server.access import require_content
from tests.hub_server.call import Call
from tests.hub_server.messages import Response, json_response
from tests.hub_server.repo_json import repo_json, select


def repo_info(call: Call) -> Response:
    """One repo at one revision; `blobs` adds sizes and ids, `expand` picks fields."""
    repo = call.repo()
    commit = repo.commit(call.revision)
    fields = repo_json(repo, commit, with_blobs=call.request.flag("blobs"))
    expand = call.request.query.get("expand")
    return json_response(fields if expand is None else select(fields, expand))


def repo_refs(call: Call) -> Response:
    """Branches and tags."""
    repo = call.repo()

    def refs(namespace: str, names: dict[str, str]) -> list[dict[str, str]]:
        return [
            {"name": name, "ref": f"refs/{namespace}/{name}", "targetCommit": oid}
            for name, oid in names.items()
        ]

    return json_response(
        {
            "branches": refs("heads", repo.branches),
            "converts": [],
            "tags": refs("tags", repo.tags),
            "pullRequests": [],
        }
    )


def auth_check(call: Call) -> Response:
    """Whether the user may read the repo's files; the answer is the status."""
    require_content(call.repo(), call.user)
    return json_response({})
