"""The listing of a repo's files and folders: .../tree/{revision} and .../paths-info/{revision}."""

from __future__ import annotations

from tests.hub_server.call import Call
from tests.hub_server.commit import Commit
from tests.hub_server.gitobjects import COMMIT_TIME
from tests.hub_server.messages import HubError, Response, is_true, json_response
from tests.hub_server.pages import page_response
from tests.hub_server.repo_json import lfs_json

EXPANDED_PAGE_SIZE = 50


def list_tree(call: Call) -> Response:
    """What lies in a folder; a file's path lists the file itself."""
    commit = call.repo().commit(call.revision)
    path = call.params.get("path", "").strip("/")
    expand = call.request.flag("expand")
    paths = _paths_in(commit, path, recursive=call.request.flag("recursive"))
    page_size = min(call.hub.page_size, EXPANDED_PAGE_SIZE) if expand else call.hub.page_size
    return page_response(call, paths, page_size, lambda found: _entry(commit, found, expand))


def paths_info(call: Call) -> Response:
    """The named paths; those that do not exist are left out without an error."""
    commit = call.repo().commit(call.revision)
    form = call.request.form()
    expand = is_true(form.get("expand", ["false"])[-1])
    paths = [path.strip("/") for path in form.get("paths", [])]
    known = [path for path in paths if path in commit.files or path in commit.folders]
    return json_response([_entry(commit, path, expand) for path in known])


def _paths_in(commit: Commit, path: str, *, recursive: bool) -> list[str]:
    if path in commit.files:
        return [path]
    if path not in commit.folders:
        raise HubError(
            404, "Entry not found", "EntryNotFound", headers={"X-Repo-Commit": commit.oid}
        )
    prefix = f"{path}/" if path else ""
    return sorted(
        found
        for found in [*commit.folders, *commit.files]
        if found != path
        and found.startswith(prefix)
        and (recursive or "/" not in found.removeprefix(prefix))
    )


def _entry(commit: Commit, path: str, expand: bool) -> dict[str, object]:
    entry: dict[str, object]
    blob = commit.files.get(path)
    if blob is None:
        entry = {"type": "directory", "oid": commit.folders[path], "size": 0, "path": path}
    else:
        entry = {"type": "file", "oid": blob.oid, "size": blob.size, "path": path}
        if blob.is_lfs:
            entry["lfs"] = lfs_json(blob, hash_key="oid")
        if expand:
            entry["securityFileStatus"] = {
                "status": "safe",
                "avScan": {"virusFound": False, "virusNames": None},
                "pickleImportScan": None,
            }
    if expand:
        entry["lastCommit"] = {"id": commit.oid, "title": commit.title, "date": COMMIT_TIME}
    return entry
