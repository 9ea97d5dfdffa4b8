"""Files over plain HTTP: headers, ranges, redirects, and what is not offered."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hub_server import HubServer
from tests.hub_server.asking import ask
from tests.hub_server.blobs import Blob
from tests.hub_server.filling import CARD, Filled, write
from tests.hub_server.messages import HubError
from tests.hub_server.ranges import content_response


def test_file_in_git(filled: Filled) -> None:
    path = "/ada/tiny/resolve/main/README.md"
    head = ask(filled.hub.endpoint, "HEAD", path)
    assert head.status == 200
    assert head.body == b""
    assert head.headers["x-repo-commit"] == filled.shas["tiny"]
    assert head.headers["content-length"] == str(len(CARD))
    assert head.headers["etag"] == f'"{Blob(CARD.encode(), False).oid}"'
    part = ask(filled.hub.endpoint, "GET", path, Range="bytes=4-15")
    assert (part.status, part.body) == (206, b"license: mit")
    assert part.headers["content-range"] == f"bytes 4-15/{len(CARD)}"


def test_file_in_lfs(filled: Filled) -> None:
    path = "/datasets/ada/rows/resolve/main/data/train-0.parquet"
    data = (filled.folders["rows"] / "data/train-0.parquet").read_bytes()
    head = ask(filled.hub.endpoint, "HEAD", path)
    assert head.status == 302
    assert head.headers["x-repo-commit"] == filled.shas["rows"]
    assert head.headers["x-linked-size"] == str(len(data))
    assert head.headers["x-linked-etag"] == f'"{Blob(data, True).sha256}"'
    location = head.headers["location"]
    assert location.startswith(filled.hub.content_endpoint)
    content_path = location.removeprefix(filled.hub.content_endpoint)
    whole = ask(filled.hub.content_endpoint, "GET", content_path)
    assert (whole.status, whole.body) == (200, data)
    tail = ask(filled.hub.content_endpoint, "GET", content_path, Range="bytes=-4")
    assert (tail.status, tail.body) == (206, b"PAR1")
    leaked = ask(filled.hub.content_endpoint, "GET", content_path, token="hf_ada")
    assert leaked.status == 400


def test_what_the_hub_does_not_offer(filled: Filled) -> None:
    endpoint = filled.hub.endpoint
    unknown = ask(endpoint, "GET", "/api/datasets/ada/rows/parquet")
    assert unknown.status == 404
    assert "x-error-code" not in unknown.headers
    assert ask(endpoint, "POST", "/api/models").status == 405
    assert ask(endpoint, "GET", "/api/models?emissions=1").status == 400
    assert ask(endpoint, "GET", "/api/models?sort=beauty").status == 400
    assert ask(endpoint, "GET", "/api/models?limit=0").status == 400
    bad = ask(endpoint, "GET", "/api/models/ada/tiny", token="hf_nobody")
    assert bad.status == 401
    assert bad.headers["x-error-message"] == "Invalid credentials in Authorization header"


def test_a_revision_may_hold_a_slash(tmp_path: Path) -> None:
    write(tmp_path / "repo", {"config.json": "{}"})
    with HubServer() as hub:
        hub.add_repo("model", "ada/m", tmp_path / "repo", branches={"refs/pr/1": tmp_path / "repo"})
        path = "/ada/m/resolve/refs%2Fpr%2F1/config.json"
        assert ask(hub.endpoint, "GET", path).body == b"{}"


@pytest.mark.parametrize(
    ("header", "status", "body"),
    [
        (None, 200, b"0123456789"),
        ("bytes=0-0", 206, b"0"),
        ("bytes=2-4", 206, b"234"),
        ("bytes=7-", 206, b"789"),
        ("bytes=7-99", 206, b"789"),
        ("bytes=-3", 206, b"789"),
        ("bytes=-99", 206, b"0123456789"),
        ("bytes=0-1,3-4", 200, b"0123456789"),
        ("lines=1-2", 200, b"0123456789"),
    ],
)
def test_ranges(header: str | None, status: int, body: bytes) -> None:
    response = content_response(b"0123456789", header, {})
    assert (response.status, response.body) == (status, body)


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=12-13", "bytes=4-2", "bytes=-0"])
def test_ranges_beyond_the_end(header: str) -> None:
    with pytest.raises(HubError) as refusal:
        content_response(b"0123456789", header, {})
    assert refusal.value.status == 416
    assert refusal.value.headers["Content-Range"] == "bytes */10"
