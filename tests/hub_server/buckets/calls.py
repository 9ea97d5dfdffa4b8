"""/api/buckets and /buckets: make, list, read, write and delete."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote

from tests.hub_server.access import require_identity
from tests.hub_server.buckets.bucket import Bucket
from tests.hub_server.call import Call, Hub
from tests.hub_server.messages import HubError, Request, Response, json_response
from tests.hub_server.pages import page_response
from tests.hub_server.ranges import content_response

CONTENT = "/bucket-content/"
_TOKEN_SECONDS = 3600


def create_bucket(call: Call) -> Response:
    """A new one, private or not, in a namespace of the user's."""
    identity = _require_writer(call)
    owner, name = call.params["bucket"].split("/")
    owner = identity if owner == "me" else owner
    buckets, url = call.hub.buckets, f"{call.hub.endpoint}/buckets/{owner}/{name}"
    with buckets.lock:
        if buckets.get(f"{owner}/{name}") is not None:
            raise HubError(409, "You already created this bucket", payload={"url": url})
        private = call.request.json().get("visibility", "public") == "private"
        buckets.add(f"{owner}/{name}", private)
    return json_response({"url": url})


def bucket_info(call: Call) -> Response:
    bucket = _bucket(call)
    return json_response({
        "id": bucket.id, "private": bucket.private, "createdAt": _time(bucket.created.timestamp()),
        "size": bucket.size, "totalFiles": len(bucket.files()),
    })  # fmt: skip


def delete_bucket(call: Call) -> Response:
    call.hub.buckets.remove(_bucket(call, write=True))
    return json_response({})


def list_bucket(call: Call) -> Response:
    """Files whose paths begin so. Not recursive lists are not needed by any client here."""
    bucket = _bucket(call)
    if not call.request.flag("recursive"):
        raise HubError(400, "this Hub lists buckets recursively alone")
    begin = call.params.get("path", "")
    found = [
        path for path in bucket.files()
        if path.relative_to(bucket.folder).as_posix().startswith(begin)
    ]  # fmt: skip
    return page_response(call, found, call.hub.page_size, lambda path: _file(call, bucket, path))


def bucket_paths_info(call: Call) -> Response:
    bucket = _bucket(call)
    paths = [bucket.path(str(name)) for name in call.request.json()["paths"]]
    return json_response([_file(call, bucket, path) for path in paths if path.is_file()])


def change_bucket(call: Call) -> Response:
    """Files to add, whose content was sent before, and files to delete."""
    bucket, failed = _bucket(call, write=True), []
    for line in bytes(call.request.body).splitlines():
        operation = json.loads(line)
        path = bucket.path(operation["path"])
        if operation["type"] == "deleteFile":
            path.unlink(missing_ok=True)
            continue
        content = call.hub.buckets.chunks.file(operation["xetHash"])
        if operation["type"] != "addFile" or content is None:
            failed.append({"path": operation["path"], "error": "its content was never sent"})
        elif bucket.capacity is not None and bucket.size + len(content) > bucket.capacity:
            failed.append({"path": operation["path"], "error": "the storage limit is reached"})
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return json_response({"success": not failed, "failed": failed})


def resolve_in_bucket(call: Call) -> Response:
    """The way to a file's content, on the other origin; 304 to whoever has it already."""
    bucket = _bucket(call)
    path = bucket.path(call.params["path"])
    if not path.is_file():
        raise HubError(404, "Entry not found", "EntryNotFound")
    etag = f'"{call.hub.buckets.etag(path)}"'
    if call.request.headers.get("if-none-match") == etag:
        return Response(304, {"ETag": etag})
    target = f"{CONTENT}{call.hub.signing_key.hex()}/{bucket.id}/{quote(call.params['path'])}"
    headers = {
        "Location": call.hub.content_endpoint + target,
        "ETag": etag,
        "X-Linked-ETag": etag,
        "X-Linked-Size": str(path.stat().st_size),
    }
    return Response(302, headers)


def bucket_content(hub: Hub, request: Request) -> Response:
    """Content by a link that `resolve_in_bucket` gave."""
    key, owner, name, path = request.path.removeprefix(CONTENT).split("/", 3)
    bucket = hub.buckets.get(f"{owner}/{name}")
    if key != hub.signing_key.hex() or bucket is None:
        raise HubError(403, "the link is none of this Hub's")
    data = bucket.path(unquote(path)).read_bytes()
    return content_response(
        data, request.headers.get("range"), {"Content-Type": "application/octet-stream"}
    )


# Chunk storage


def write_token(call: Call) -> Response:
    """The address of chunk storage and a token for it, which is no user's."""
    _bucket(call, write=True)
    return json_response({
        "casUrl": call.hub.endpoint, "exp": int(time.time()) + _TOKEN_SECONDS,
        "accessToken": call.hub.chunk_token,
    })  # fmt: skip


def add_xorb(call: Call) -> Response:
    call.hub.buckets.chunks.add_xorb(call.params["hash"], bytes(call.request.body))
    return json_response({"was_inserted": True})


def add_shard(call: Call) -> Response:
    call.hub.buckets.chunks.add_shard(bytes(call.request.body))
    return json_response({"result": 1})


def take_telemetry(call: Call) -> Response:
    return json_response({})


def _require_writer(call: Call) -> str:
    identity = require_identity(call.identity)
    if identity.token.role == "read":
        raise HubError(403, "This token may only read: a token with write access is needed.")
    owner = call.params["bucket"].split("/")[0]
    if owner != "me" and not identity.owns(owner):
        raise HubError(403, f"You are not among those who may write to {owner!r}.")
    return identity.user.name


def _bucket(call: Call, write: bool = False) -> Bucket:
    bucket = call.hub.buckets.get(call.params["bucket"])
    if bucket is not None and write:
        _require_writer(call)
    mine = bucket and call.identity is not None and call.identity.owns(bucket.owner)
    if bucket is None or (bucket.private and not mine):
        raise HubError(404, "Bucket not found", "RepoNotFound")
    return bucket


def _file(call: Call, bucket: Bucket, path: Path) -> dict[str, object]:
    stat = path.stat()
    return {
        "type": "file", "path": path.relative_to(bucket.folder).as_posix(), "size": stat.st_size,
        "xetHash": call.hub.buckets.etag(path), "mtime": _time(stat.st_mtime),
        "uploadedAt": _time(stat.st_mtime),
    }  # fmt: skip


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
