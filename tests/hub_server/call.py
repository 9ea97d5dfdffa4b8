"""What a handler is given: the Hub, the request, and who makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.hub_server.access import require_write, visible_repo
from tests.hub_server.buckets.bucket import Buckets
from tests.hub_server.jobs.runner import JobRunner
from tests.hub_server.messages import Request, Response
from tests.hub_server.oauth_clients import OAuthClients
from tests.hub_server.repo import MAIN, Repo, RepoType
from tests.hub_server.store import Store
from tests.hub_server.users import Identity


@dataclass(frozen=True)
class Hub:
    """The store, and the facts about this instance that answers depend on."""

    store: Store
    clients: OAuthClients
    endpoint: str
    content_endpoint: str
    page_size: int
    signing_key: bytes
    buckets: Buckets
    jobs: JobRunner
    chunk_token: str
    records_have_ids: bool = True


@dataclass(frozen=True)
class Call:
    """One request to one handler; `params` are the route's, decoded."""

    hub: Hub
    request: Request
    params: Mapping[str, str]
    identity: Identity | None

    @property
    def repo_type(self) -> RepoType:
        is_dataset = self.params.get("kind") == "datasets" or self.params.get("prefix")
        return "dataset" if is_dataset else "model"

    @property
    def revision(self) -> str:
        return self.params.get("revision", MAIN)

    def repo(self) -> Repo:
        """The route's repo, if this user may know of it."""
        return visible_repo(self.hub.store, self.repo_type, self.params["repo"], self.identity)

    def writable_repo(self) -> Repo:
        """The route's repo, if this user may change it."""
        repo = self.repo()
        require_write(repo, self.identity)
        return repo


Handler = Callable[[Call], Response]
