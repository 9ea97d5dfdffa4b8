"""A repo as the API's JSON describes it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from tests.hub_server.blobs import Blob
from tests.hub_server.card import Card, read_card, strings
from tests.hub_server.commit import Commit
from tests.hub_server.gitobjects import object_id
from tests.hub_server.repo import Repo
from tests.hub_server.weights import parameter_count

# In lists the Hub leaves the rest out unless asked with `full`, `cardData` or `config`.
TAG_FIELDS = ("tags", "pipeline_tag", "library_name")
BRIEF_FIELDS = (
    "modelId",
    "private",
    "createdAt",
    "downloads",
    "likes",
    "trendingScore",
    *TAG_FIELDS,
)
FULL_FIELDS = (*BRIEF_FIELDS, "author", "gated", "disabled", "lastModified", "sha", "siblings")


def repo_json(repo: Repo, commit: Commit, *, with_blobs: bool = False) -> dict[str, object]:
    """All fields that this Hub knows, at one commit."""
    card = read_card(commit)
    pipeline_class = _pipeline_class(commit)
    fields: dict[str, object] = {
        "_id": repo_key(repo),
        "id": repo.repo_id,
        "author": repo.author,
        "sha": commit.oid,
        "lastModified": _time(repo.updated_at),
        "createdAt": _time(repo.created_at),
        "private": repo.private,
        "gated": "manual" if repo.gated else False,
        "disabled": False,
        "downloads": repo.downloads,
        "likes": repo.likes,
        "trendingScore": repo.likes,
        "usedStorage": sum(repo.stored.values()),
        "tags": _tags(repo, commit, card, pipeline_class),
        "cardData": card,
        "siblings": [_sibling(path, blob, with_blobs) for path, blob in commit.files.items()],
    }
    if repo.repo_type == "model":
        library = _library(card, pipeline_class)
        pipeline_tag = card.get("pipeline_tag")
        fields["modelId"] = repo.repo_id
        fields["spaces"] = []
        if library:
            fields["library_name"] = library
        if pipeline_tag:
            fields["pipeline_tag"] = pipeline_tag
        parameters = parameter_count(commit)
        if parameters:
            fields["safetensors"] = parameters
        if pipeline_class:
            fields["config"] = {"diffusers": {"_class_name": pipeline_class}}
    return fields


def select(fields: Mapping[str, object], names: Sequence[str]) -> dict[str, object]:
    """Only the named fields, and what identifies the repo."""
    return {name: fields[name] for name in ("_id", "id", *names) if name in fields}


def repo_tags(repo: Repo) -> list[str]:
    """What `filter` is compared with."""
    commit = repo.commit()
    return _tags(repo, commit, read_card(commit), _pipeline_class(commit))


def repo_key(repo: Repo) -> str:
    """The real one is a database key; all that matters is that it is one per repo."""
    return object_id("repo", f"{repo.repo_type}/{repo.repo_id}".encode())[:24]


def lfs_json(blob: Blob, *, hash_key: str) -> dict[str, object]:
    """Where a file lies in LFS. The API calls the hash "sha256" here and "oid" there."""
    return {hash_key: blob.sha256, "size": blob.size, "pointerSize": len(blob.pointer)}


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _sibling(path: str, blob: Blob, with_blobs: bool) -> dict[str, object]:
    entry: dict[str, object] = {"rfilename": path}
    if with_blobs:
        entry |= {"size": blob.size, "blobId": blob.oid}
        if blob.is_lfs:
            entry["lfs"] = lfs_json(blob, hash_key="sha256")
    return entry


def _pipeline_class(commit: Commit) -> str | None:
    """The diffusers class that model_index.json names. A broken file names none: the Hub shows
    such repos all the same."""
    index = commit.files.get("model_index.json")
    if index is None:
        return None
    try:
        name = json.loads(bytes(index.data)).get("_class_name")
    except (ValueError, AttributeError):  # not JSON, or not an object
        return None
    return name if isinstance(name, str) else None


def _library(card: Card, pipeline_class: str | None) -> str | None:
    """What the card says; a diffusers pipeline is recognised without a card, too."""
    named = card.get("library_name")
    if isinstance(named, str) and named:
        return named
    return "diffusers" if pipeline_class else None


def _tags(repo: Repo, commit: Commit, card: Card, pipeline_class: str | None) -> list[str]:
    tags: list[str] = []
    if repo.repo_type == "model":
        library = _library(card, pipeline_class)
        tags += [library] if library else []
        if any(path.endswith(".safetensors") for path in commit.files):
            tags.append("safetensors")
        if pipeline_class:
            tags.append(f"diffusers:{pipeline_class}")
        tags += strings(card, "pipeline_tag")
        tags += [f"base_model:{name}" for name in strings(card, "base_model")]
        tags += [f"dataset:{name}" for name in strings(card, "datasets")]
    else:
        tags += [f"task_categories:{name}" for name in strings(card, "task_categories")]
        tags += [f"size_categories:{name}" for name in strings(card, "size_categories")]
        tags += [f"language:{name}" for name in strings(card, "language")]
    tags += strings(card, "tags")
    tags += [f"license:{name}" for name in strings(card, "license")]
    return list(dict.fromkeys(tags))
