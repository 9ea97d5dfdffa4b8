"""Upload links: whoever holds one may send one file to one repo, without a token."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import get_args
from urllib.parse import urlencode

from tests.hub_server.call import Hub
from tests.hub_server.messages import HubError, Request
from tests.hub_server.repo import Repo, RepoType


@dataclass(frozen=True)
class Upload:
    """What a link is for."""

    repo: Repo
    sha256: str
    size: int


def upload_url(hub: Hub, upload: Upload) -> str:
    """The link, on the origin where content lies."""
    query = {
        "type": upload.repo.repo_type,
        "repo": upload.repo.repo_id,
        "size": upload.size,
        "signature": _signature(hub, upload),
    }
    return f"{hub.content_endpoint}/{upload.sha256}?{urlencode(query)}"


def signed_upload(hub: Hub, request: Request) -> Upload:
    """What the request's link is for; refused unless it is a link of ours as it was given out."""
    named = {name: values[-1] for name, values in request.query.items()}
    for repo_type in get_args(RepoType):
        repo = hub.store.repo(repo_type, named.get("repo", ""))
        if repo is None or repo_type != named.get("type") or not named.get("size", "").isdecimal():
            continue
        upload = Upload(repo, request.path.removeprefix("/"), int(named["size"]))
        if hmac.compare_digest(_signature(hub, upload), named.get("signature", "")):
            return upload
    raise HubError(403, "SignatureDoesNotMatch: this is no upload link of the Hub")


def _signature(hub: Hub, upload: Upload) -> str:
    text = f"{upload.repo.repo_type} {upload.repo.repo_id} {upload.sha256} {upload.size}"
    return hmac.digest(hub.signing_key, text.encode(), "sha256").hex()
