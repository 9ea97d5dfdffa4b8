"""GET /api/{models,datasets}/{id} and what else describes one repo."""

from __future__ import annotations

from collections.abc import Mapping

from tests.hub_server.access import require_content
from tests.hub_server.call import Call
from tests.hub_server.commit import Commit
from tests.hub_server.gitobjects import COMMIT_TIME
from tests.hub_server.messages import Response, json_response
from tests.hub_server.pages import page_response
from tests.hub_server.repo_json import repo_json, select


def repo_info(call: Call) -> Response:
    """One repo at one revision; `blobs` adds sizes and ids, `expand` picks fields."""
    repo = call.repo()
    commit = repo.commit(call.revision)
    with_blobs = call.hub.records_have_ids and call.request.flag("blobs")
    fields = repo_json(repo, commit, with_blobs=with_blobs)
    expand = call.request.query.get("expand")
    return json_response(fields if expand is None else select(fields, expand))


def repo_refs(call: Call) -> Response:
    """Branches and tags."""
    repo = call.repo()

    def refs(namespace: str, names: Mapping[str, str]) -> list[dict[str, str]]:
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


def list_commits(call: Call) -> Response:
    """The revision's history, newest first."""
    repo = call.repo()
    history: list[Commit] = []
    oid: str | None = repo.commit(call.revision).oid
    while oid is not None:
        history.append(repo.commits[oid])
        oid = history[-1].parent
    return page_response(call, history, call.hub.page_size, _commit_json)


def auth_check(call: Call) -> Response:
    """Whether the user may read the repo's files; the answer is the status."""
    require_content(call.repo(), call.identity)
    return json_response({})


def auth_check_write(call: Call) -> Response:
    """Whether the user may change the repo; the answer is the status."""
    call.writable_repo()
    return json_response({})


def _commit_json(commit: Commit) -> dict[str, object]:
    return {
        "id": commit.oid,
        "title": commit.title,
        "message": commit.description,
        "authors": [{"user": "hub"}],
        "date": COMMIT_TIME,
    }
