"""Commits: what they change, what they are built on, and what they refuse as a whole."""

from __future__ import annotations

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from huggingface_hub import (
    CommitInfo,
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
)
from huggingface_hub.errors import (
    BadRequestError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RevisionNotFoundError,
)

from tests.hub_server import HubServer
from tests.hub_server.asking import Client, ask

Operation = CommitOperationAdd | CommitOperationCopy | CommitOperationDelete


def commit(api: HfApi, *operations: Operation, parent: str | None = None) -> CommitInfo:
    return api.create_commit(
        "ada/m", list(operations), commit_message="Change", parent_commit=parent
    )


def post(hub: HubServer, *operations: tuple[str, dict[str, object]]) -> int:
    """The status of a commit of whatever lines, for what the client would not send."""
    lines = [("header", {"summary": "Change"}), *operations]
    body = "\n".join(json.dumps({"key": key, "value": value}) for key, value in lines)
    path = "/api/models/ada/m/commit/main"
    return ask(hub.endpoint, "POST", path, "hf_ada", body=body.encode()).status


@pytest.fixture
def api(client: Client) -> HfApi:
    """Ada's client, with a repo of two files."""
    ada = client("hf_ada")
    ada.create_repo("ada/m")
    commit(ada, CommitOperationAdd("a.txt", b"a"), CommitOperationAdd("w/x.safetensors", b"x"))
    return ada


def test_operations(hub: HubServer, api: HfApi) -> None:
    parent = hub.head("model", "ada/m")
    info = commit(
        api,
        CommitOperationAdd("b.txt", b"b"),
        CommitOperationAdd("empty.bin", b""),
        CommitOperationCopy("w/x.safetensors", "copy.safetensors"),
        CommitOperationCopy("a.txt", "deep/er/a.txt"),
        CommitOperationDelete("w/"),
        CommitOperationDelete("a.txt"),
        parent=parent[:8],
    )
    assert info.oid == hub.head("model", "ada/m") != parent
    assert info.repo_url.repo_id == "ada/m"
    files = hub.repo_files("model", "ada/m")
    del files[".gitattributes"]
    assert files == {
        "b.txt": b"b",
        "copy.safetensors": b"x",
        "deep/er/a.txt": b"a",
        "empty.bin": b"",
    }
    assert hub.repo_files("model", "ada/m", parent).keys() > {"a.txt", "w/x.safetensors"}
    history = api.list_repo_commits("ada/m")
    assert [entry.commit_id for entry in history][:2] == [info.oid, parent]
    assert [entry.title for entry in history] == ["Change", "Change", "initial commit"]


def test_going_back_is_another_commit(hub: HubServer, api: HfApi) -> None:
    before = hub.head("model", "ada/m")
    commit(api, CommitOperationAdd("a.txt", b"other"))
    commit(api, CommitOperationAdd("a.txt", b"a"))
    after = hub.head("model", "ada/m")
    assert before != after
    assert hub.repo_files("model", "ada/m", before) == hub.repo_files("model", "ada/m", after)


def test_nothing_changed(hub: HubServer, api: HfApi) -> None:
    head = hub.head("model", "ada/m")
    mark = len(hub.requests)
    same = CommitOperationAdd("a.txt", b"a"), CommitOperationAdd("w/x.safetensors", b"x")
    assert commit(api, *same).oid == head
    methods = {request.method for request in hub.requests[mark:] if request.origin == "content"}
    assert methods == set(), "what the Hub has is not sent again"
    content = base64.b64encode(b"a").decode()
    assert post(hub, ("file", {"path": "a.txt", "content": content, "encoding": "base64"})) == 200
    assert hub.head("model", "ada/m") == head


def test_the_parent_must_be_the_head(hub: HubServer, api: HfApi) -> None:
    parent = hub.head("model", "ada/m")
    commit(api, CommitOperationAdd("b.txt", b"b"), parent=parent)
    head = hub.head("model", "ada/m")
    with pytest.raises(HfHubHTTPError) as refusal:
        commit(api, CommitOperationAdd("c.txt", b"c"), parent=parent)
    assert refusal.value.response.status_code == 412
    assert "has happened since" in str(refusal.value)
    assert hub.head("model", "ada/m") == head


def test_one_of_many_at_once_wins(hub: HubServer, api: HfApi) -> None:
    header = {"summary": "Change", "parentCommit": hub.head("model", "ada/m")}
    start = threading.Barrier(6)

    def race(number: int) -> int:
        lines = [("header", header), ("file", {"path": f"{number}.txt", "content": "mine"})]
        body = "\n".join(json.dumps({"key": key, "value": value}) for key, value in lines)
        start.wait()
        path = "/api/models/ada/m/commit/main"
        return ask(hub.endpoint, "POST", path, "hf_ada", body=body.encode()).status

    with ThreadPoolExecutor(max_workers=6) as pool:
        statuses = sorted(pool.map(race, range(6)))
    assert statuses == [200] + [412] * 5
    assert len(api.list_repo_commits("ada/m")) == 3


def test_branches_only(hub: HubServer, api: HfApi) -> None:
    api.create_tag("ada/m", tag="v1")
    for revision in ("v9", "v1", hub.head("model", "ada/m")):
        with pytest.raises(RevisionNotFoundError):
            api.create_commit(
                "ada/m",
                [CommitOperationAdd("b.txt", b"b")],
                commit_message="Change",
                revision=revision,
            )


def test_all_or_nothing(hub: HubServer, api: HfApi) -> None:
    head = hub.head("model", "ada/m")
    for missing in ("nothing.txt", "nothing/"):
        with pytest.raises(RemoteEntryNotFoundError, match="doesn't exist"):
            commit(api, CommitOperationAdd("b.txt", b"b"), CommitOperationDelete(missing))
    assert hub.head("model", "ada/m") == head


def test_a_card_must_be_valid(hub: HubServer, api: HfApi) -> None:
    with pytest.raises(ValueError, match='"license" must be one of'):
        commit(api, CommitOperationAdd("README.md", b"---\nlicense: my own\n---\n"))
    content = "---\nlicense: my own\n---\n"
    assert post(hub, ("file", {"path": "README.md", "content": content})) == 400
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        commit(api, CommitOperationAdd("README.md", b"# No metadata"))
    assert hub.repo_files("model", "ada/m")["README.md"] == b"# No metadata"


def test_pull_requests_are_refused(hub: HubServer, api: HfApi) -> None:
    with pytest.raises(BadRequestError, match="no pull requests"):
        api.create_commit(
            "ada/m", [CommitOperationAdd("b.txt", b"b")], commit_message="Change", create_pr=True
        )


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("file", {"path": "../b.txt", "content": "b"}),
        ("file", {"path": "/b.txt", "content": "b"}),
        ("file", {"path": ".git/config", "content": "b"}),
        ("file", {"path": "a.txt/b.txt", "content": "b"}),
        ("file", {"path": "w", "content": "b"}),
        ("file", {"path": "b.txt", "content": "%", "encoding": "base64"}),
        ("file", {"path": "b.txt", "content": "b", "encoding": "rot"}),
        ("file", {"path": "b.txt"}),
        ("file", {"path": "b.safetensors", "content": "b"}),
        ("lfsFile", {"path": "b.bin", "algo": "sha256", "oid": "0" * 64, "size": 1}),
        ("symlink", {"path": "b.txt", "target": "a.txt"}),
        ("header", {"summary": "Another"}),
    ],
)
def test_lines_that_cannot_be_carried_out(
    hub: HubServer, key: str, value: dict[str, object]
) -> None:
    head = hub.head("model", "ada/m")
    good: tuple[str, dict[str, object]] = ("file", {"path": "good.txt", "content": "good"})
    assert post(hub, good, (key, value)) == 400
    assert hub.head("model", "ada/m") == head
    assert post(hub, good) == 200


@pytest.mark.usefixtures("api")
def test_bodies_that_are_no_commit(hub: HubServer) -> None:
    path = "/api/models/ada/m/commit/main"
    for body in (b"", b"{", b"[]", b'{"key": "file"}', b'{"key": "header", "value": {}}'):
        assert ask(hub.endpoint, "POST", path, "hf_ada", body=body).status == 400
