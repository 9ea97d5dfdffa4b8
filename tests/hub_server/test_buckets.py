"""Buckets with the real client: made, written, listed, read in parts, and kept from others."""

from __future__ import annotations

import os
from pathlib import Path

import httpx2
import pytest
from huggingface_hub.errors import BucketNotFoundError, HfHubHTTPError

from tests.hub_server import HubServer
from tests.hub_server.asking import Client, ask

BUCKET = "ada/runs"


def test_what_is_written_can_be_listed_and_read(
    hub: HubServer, client: Client, tmp_path: Path
) -> None:
    api = client("hf_ada")
    api.create_bucket(BUCKET, private=True)
    api.create_bucket(BUCKET, private=True, exist_ok=True)
    noise = os.urandom(300_000)
    (tmp_path / "numbers").write_bytes(bytes(range(256)) * 2000)
    api.batch_bucket_files(
        BUCKET,
        add=[(b"one, two", "a/b.txt"), (noise, "a/noise"), (tmp_path / "numbers", "numbers")],
    )
    found = {
        file.path: file.size
        for file in api.list_bucket_tree(BUCKET, recursive=True)
        if file.type == "file"
    }
    assert found == {"a/b.txt": 8, "a/noise": 300_000, "numbers": 512_000}
    assert [file.path for file in api.list_bucket_tree(BUCKET, "a", recursive=True)] == [
        "a/b.txt", "a/noise"
    ]  # fmt: skip
    bucket = hub.buckets.get(BUCKET)
    assert bucket is not None
    assert bucket.path("a/noise").read_bytes() == noise
    assert bucket.path("numbers").read_bytes() == bytes(range(256)) * 2000
    assert api.bucket_info(BUCKET).private
    api.batch_bucket_files(BUCKET, delete=["a/noise"])
    assert [one.path for one in api.get_bucket_paths_info(BUCKET, ["a/noise", "a/b.txt"])] == [
        "a/b.txt"
    ]


def test_files_are_read_in_parts_and_not_twice(hub: HubServer, client: Client) -> None:
    api = client("hf_ada")
    api.create_bucket(BUCKET, private=True)
    api.batch_bucket_files(BUCKET, add=[(b"0123456789", "a/b c.txt")])
    url = f"{hub.endpoint}/buckets/{BUCKET}/resolve/a%2Fb%20c.txt"
    headers = {"authorization": "Bearer hf_ada"}
    with httpx2.Client(follow_redirects=True) as session:
        whole = session.get(url, headers=headers)
        assert whole.content == b"0123456789"
        etag = whole.history[0].headers["etag"]
        part = session.get(url, headers={**headers, "range": "bytes=7-"})
        assert (part.status_code, part.content) == (206, b"789")
        assert session.get(url, headers={**headers, "range": "bytes=10-"}).status_code == 416
        assert session.get(url, headers={**headers, "if-none-match": etag}).status_code == 304
    # The content's own origin never sees the token.
    sent = [one for one in hub.requests if one.origin == "content"]
    assert sent
    assert not any("authorization" in one.headers for one in sent)


def test_others_see_nothing_of_a_private_bucket(hub: HubServer, client: Client) -> None:
    client("hf_ada").create_bucket(BUCKET, private=True)
    with pytest.raises(BucketNotFoundError):
        client("hf_eve").bucket_info(BUCKET)
    with pytest.raises(HfHubHTTPError, match="may write"):
        client("hf_eve").create_bucket("ada/other")
    answer = ask(hub.endpoint, "GET", f"/buckets/{BUCKET}/resolve/x", "hf_eve")
    assert answer.status == 404


def test_a_full_bucket_says_so(hub: HubServer, client: Client) -> None:
    api = client("hf_ada")
    api.create_bucket(BUCKET, private=True)
    bucket = hub.buckets.get(BUCKET)
    assert bucket is not None
    bucket.capacity = 10
    with pytest.raises(HfHubHTTPError, match="storage limit"):
        api.batch_bucket_files(BUCKET, add=[(b"x" * 11, "a")])
