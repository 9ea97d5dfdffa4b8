"""Large files: links, what arrives by them, and what does not."""

from __future__ import annotations

import hashlib
import io
import mmap
from typing import Any

import pytest
from huggingface_hub import HfApi

from tests.hub_server import HubServer, spool
from tests.hub_server.asking import Answer, Client, ask, since
from tests.hub_server.blobs import Blob
from tests.hub_server.lfs import LFS_JSON

DATA = b"some weights"
OID = hashlib.sha256(DATA).hexdigest()


def batch(hub: HubServer, *objects: dict[str, object], repo: str = "ada/m") -> Answer:
    body: dict[str, object] = {"operation": "upload", "objects": list(objects)}
    path = f"/{repo}.git/info/lfs/objects/batch"
    return ask(hub.endpoint, "POST", path, "hf_ada", body=body)


def promised(hub: HubServer, repo: str = "ada/m") -> dict[str, Any]:
    """What the Hub says of DATA, as yet not sent."""
    answer: dict[str, Any] = batch(hub, {"oid": OID, "size": len(DATA)}, repo=repo).json()
    entry: dict[str, Any] = answer["objects"][0]
    return entry


def put(hub: HubServer, href: str, data: bytes, token: str | None = None) -> int:
    assert href.startswith(hub.content_endpoint)
    path = href.removeprefix(hub.content_endpoint)
    return ask(hub.content_endpoint, "PUT", path, token, body=data).status


@pytest.fixture
def api(client: Client) -> HfApi:
    """Ada's client, with two repos."""
    ada = client("hf_ada")
    ada.create_repo("ada/m")
    ada.create_repo("ada/n")
    return ada


@pytest.mark.usefixtures("api")
def test_a_link_takes_its_content_and_nothing_else(hub: HubServer) -> None:
    entry = promised(hub)
    href = entry["actions"]["upload"]["href"]
    assert "header" not in entry["actions"]["upload"]
    verify = entry["actions"]["verify"]["href"].removeprefix(hub.endpoint)
    body: dict[str, object] = {"oid": OID, "size": len(DATA)}
    assert ask(hub.endpoint, "POST", verify, "hf_ada", body=body).status == 404
    assert put(hub, href, b"x" * len(DATA)) == 400
    assert put(hub, href, DATA + b".") == 400
    assert put(hub, href, DATA, token="hf_ada") == 400
    for old, new in (("size=12", "size=13"), ("ada%2Fm", "ada%2Fn"), (OID, "0" * 64)):
        assert old in href
        assert put(hub, href.replace(old, new), DATA) == 403
    assert put(hub, href.partition("?")[0], DATA) == 403
    assert ask(hub.endpoint, "POST", verify, "hf_ada", body=body).status == 404
    assert put(hub, href, DATA) == 200
    assert ask(hub.endpoint, "POST", verify, "hf_ada", body=body).status == 200
    assert ask(hub.endpoint, "POST", verify, "hf_eve", body=body).status == 403
    assert ask(hub.content_endpoint, "GET", f"/{OID}").body == DATA
    assert ask(hub.content_endpoint, "DELETE", f"/{OID}").status == 405


@pytest.mark.usefixtures("api")
def test_what_a_repo_has_is_not_asked_for_again(hub: HubServer) -> None:
    assert put(hub, promised(hub)["actions"]["upload"]["href"], DATA) == 200
    assert promised(hub) == {"oid": OID, "size": len(DATA)}
    assert "actions" in promised(hub, repo="ada/n"), "a hash is no right to its content"


@pytest.mark.usefixtures("api")
def test_mistakes(hub: HubServer) -> None:
    objects: list[dict[str, object]] = [{"oid": "0", "size": 1}, {"oid": OID}, {}]
    for found in [*objects, {"oid": OID, "size": -1}]:
        assert batch(hub, found).status == 400
    path = "/ada/m.git/info/lfs/objects/batch"
    answer = ask(hub.endpoint, "POST", path, "hf_ada", body={"operation": "download"})
    assert answer.status == 400
    assert batch(hub).headers["content-type"] == LFS_JSON["Content-Type"]


def test_a_large_body_lies_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "LARGEST_IN_MEMORY", 4)
    monkeypatch.setattr(spool, "CHUNK", 3)
    stream = io.BytesIO(b"0123456789")
    small, large = spool.read_body(stream, 4), spool.read_body(stream, 5)
    assert small == b"0123"
    assert isinstance(large, mmap.mmap)
    assert large[:] == b"45678"
    assert Blob(large, True).sha256 == Blob(b"45678", True).sha256
    for size in (2, 9):
        with pytest.raises(ConnectionError, match="left after"):
            spool.read_body(io.BytesIO(b"0"), size)


def test_a_large_file_travels_both_ways(
    hub: HubServer, api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "LARGEST_IN_MEMORY", 100)
    monkeypatch.setattr(spool, "CHUNK", 64)
    weights = bytes(range(256)) * 8
    api.upload_file(path_or_fileobj=weights, path_in_repo="w.safetensors", repo_id="ada/m")
    assert hub.repo_files("model", "ada/m")["w.safetensors"] == weights
    content = since(hub, 0, "content")
    assert [(request.method, request.body_size) for request in content] == [("PUT", len(weights))]
    sha256 = hashlib.sha256(weights).hexdigest()
    part = ask(hub.content_endpoint, "GET", f"/{sha256}", Range="bytes=250-260")
    assert (part.status, part.body) == (206, weights[250:261])
    assert ask(hub.content_endpoint, "GET", f"/{sha256}").body == weights
