"""POST /api/{kind}/{id}/commit/{branch}: all of a commit or nothing of it."""

from __future__ import annotations

from tests.hub_server.call import Call
from tests.hub_server.card_rules import check_card
from tests.hub_server.commit import Commit
from tests.hub_server.messages import HubError, Response, json_response
from tests.hub_server.operations import Operation, apply, read_operations
from tests.hub_server.preupload import refuse_pull_request
from tests.hub_server.quota import no_room
from tests.hub_server.repo import Repo


def create_commit(call: Call) -> Response:
    """Carry out the operations on top of the branch, which then points at the result."""
    repo = call.writable_repo()
    refuse_pull_request(call)
    header, operations = read_operations(call.request.body)
    with call.hub.store.lock:
        head = repo.head(call.revision)
        _require_parent(head, header)
        commit = Commit(
            apply(repo, head.files, operations),
            parent=head.oid,
            title=header.text("summary"),
            description=header.text("description", ""),
        )
        if commit.folders[""] == head.folders[""]:
            commit = head  # nothing has changed: nothing to keep
        else:
            _check(call, repo, head, commit)
            repo.add_commit(commit, branch=call.revision)
            repo.updated_at = call.hub.store.tick()
    return json_response(
        {
            "success": True,
            "commitOid": commit.oid,
            "commitUrl": f"{call.hub.endpoint}/{repo.path}/commit/{commit.oid}",
            "hookOutput": "",
        }
    )


def _require_parent(head: Commit, header: Operation) -> None:
    # Clients may shorten the id.
    if not head.oid.startswith(header.text("parentCommit", "").lower()):
        raise HubError(412, "A commit has happened since. Please refresh and try again.")


def _check(call: Call, repo: Repo, head: Commit, commit: Commit) -> None:
    stored = repo.stored
    new = {blob.etag: blob.size for blob in commit.files.values() if blob.etag not in stored}
    refusal = no_room(call.hub.store, repo, sum(new.values()))
    if refusal is not None:
        raise HubError(403, refusal)
    card = commit.files.get("README.md")
    if card is not None and card != head.files.get("README.md"):
        errors = check_card(bytes(card.data).decode("utf-8", "replace")).errors
        if errors:
            raise HubError(400, f"Invalid metadata in README.md: {'; '.join(errors)}")
