"""What a commit's NDJSON body asks for: one header, then one operation a line."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.hub_server.blobs import Blob, is_lfs
from tests.hub_server.messages import HubError
from tests.hub_server.repo import Repo
from tests.hub_server.spool import Body

Files = dict[str, Blob]


@dataclass(frozen=True)
class Operation:
    """One line: what is to be done, and with what."""

    key: str
    value: Mapping[str, Any]

    def text(self, name: str, default: str | None = None) -> str:
        value = self.value.get(name, default)
        if not isinstance(value, str):
            raise HubError(400, f"{self.key}: {name} must be a string, got {value!r}")
        return value

    @property
    def path(self) -> str:
        """Relative to the repo, a folder's without a slash at its end."""
        path = self.text("path").removesuffix("/")
        if any(part in {"", ".", "..", ".git"} for part in path.split("/")):
            raise HubError(400, f"{self.key}: invalid path {path!r}")
        return path


def read_operations(body: Body) -> tuple[Operation, list[Operation]]:
    """The header and the operations."""
    lines = [_operation(line) for line in bytes(body).split(b"\n") if line.strip()]
    if not lines or lines[0].key != "header" or any(line.key == "header" for line in lines[1:]):
        raise HubError(400, "a commit must begin with its one header")
    return lines[0], lines[1:]


def apply(repo: Repo, files: Mapping[str, Blob], operations: Iterable[Operation]) -> Files:
    """The files after all operations, in order of path. Nothing is done if one cannot be."""
    changed = dict(files)
    for operation in operations:
        if operation.key not in _STEPS:
            raise HubError(400, f"this Hub has no commit operation {operation.key!r}")
        _STEPS[operation.key](repo, changed, operation)
    folders = {path[:end] for path in changed for end, char in enumerate(path) if char == "/"}
    both = sorted(folders.intersection(changed))
    if both:
        raise HubError(400, f"a path cannot be a file and a folder: {', '.join(both)}")
    return dict(sorted(changed.items()))


def _operation(line: bytes) -> Operation:
    try:
        found = json.loads(line)
        operation = Operation(found["key"], found["value"])
    except (ValueError, KeyError, TypeError) as error:
        raise HubError(400, 'each line must be {"key": ..., "value": ...}') from error
    if not isinstance(operation.key, str) or not isinstance(operation.value, dict):
        raise HubError(400, f"key must be a string and value an object, got {found!r:.99}")
    return operation


def _file(repo: Repo, files: Files, operation: Operation) -> None:
    content, path = operation.text("content"), operation.path
    encoding = operation.text("encoding", "utf-8")
    try:
        is_base64 = encoding == "base64"
        data = base64.b64decode(content, validate=True) if is_base64 else content.encode(encoding)
    except (ValueError, LookupError) as error:
        raise HubError(400, f"file {path}: content is not {encoding}: {error}") from error
    # LFS takes no empty files, so those come this way whatever they are called.
    if data and is_lfs(repo.repo_type, path, len(data)):
        raise HubError(400, f"file {path}: must be sent to LFS")
    files[path] = Blob(data, is_lfs=False)


def _lfs_file(repo: Repo, files: Files, operation: Operation) -> None:
    sha256, path = operation.text("oid"), operation.path
    blob = repo.lfs.get(sha256)
    # A copied file comes without its size.
    if blob is None or operation.value.get("size", blob.size) != blob.size:
        raise HubError(400, f"lfsFile {path}: its content was not uploaded to this repo")
    files[path] = blob


def _deleted_file(repo: Repo, files: Files, operation: Operation) -> None:
    if files.pop(operation.path, None) is None:
        raise _nothing_to_delete(operation)


def _deleted_folder(repo: Repo, files: Files, operation: Operation) -> None:
    inside = [path for path in files if path.startswith(f"{operation.path}/")]
    if not inside:
        raise _nothing_to_delete(operation)
    for path in inside:
        del files[path]


def _nothing_to_delete(operation: Operation) -> HubError:
    # The sentence is one that huggingface_hub looks for.
    message = f"A file with this name doesn't exist: {operation.path}"
    return HubError(404, message, "EntryNotFound")


_STEPS: dict[str, Callable[[Repo, Files, Operation], None]] = {
    "file": _file,
    "lfsFile": _lfs_file,
    "deletedFile": _deleted_file,
    "deletedFolder": _deleted_folder,
}
