"""The Hub as tests use it: start it, fill it, see what was asked of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import get_args

from tests.hub_server.app import answer
from tests.hub_server.call import Hub
from tests.hub_server.commit import commit_of_folder
from tests.hub_server.content import answer_content
from tests.hub_server.environment import child_environment
from tests.hub_server.record import RecordedRequest, RequestLog
from tests.hub_server.repo import MAIN, Repo, RepoType
from tests.hub_server.store import Store, User
from tests.hub_server.transport import Origin

FIRST_REPO_TIME = datetime(2024, 1, 1, tzinfo=UTC)


class HubServer:
    """A Hub on two loopback ports: one for the API and files, one for LFS content.

    `page_size` is the most that one page of a list holds; a small one makes clients turn pages.
    Users and repos can be added before and while it runs.
    """

    def __init__(self, *, page_size: int = 1000) -> None:
        self._store = Store()
        self._log = RequestLog()
        self._page_size = page_size
        self._origins: tuple[Origin, Origin] | None = None
        self._next_repo_time = FIRST_REPO_TIME

    def __enter__(self) -> HubServer:
        hub_origin, content_origin = Origin("hub", self._log), Origin("content", self._log)
        hub = Hub(self._store, hub_origin.url, content_origin.url, self._page_size)
        content_origin.start(partial(answer_content, self._store))
        hub_origin.start(partial(answer, hub))
        self._origins = hub_origin, content_origin
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        origins = self._running()
        for origin in origins:
            origin.close()
        self._origins = None
        failures = [failure for origin in origins for failure in origin.failures]
        if failures and error is None:  # an error of the test's own says more
            raise RuntimeError("the Hub failed to answer a request") from failures[0]

    @property
    def endpoint(self) -> str:
        """Where clients find the Hub: the value of HF_ENDPOINT."""
        return self._running()[0].url

    @property
    def content_endpoint(self) -> str:
        """Where LFS content lies: an origin that must never be sent a token."""
        return self._running()[1].url

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """All requests to both origins so far, in order of arrival."""
        return self._log.snapshot()

    def environ(self, home: Path, token: str | None = None) -> dict[str, str]:
        """The whole environment for a child process that is to use this Hub, with its cache in
        `home`, signed in by `token` or signed out."""
        return child_environment(os.environ, self.endpoint, home, token)

    def add_user(
        self, name: str, token: str, *, gated_access: Iterable[tuple[RepoType, str]] = ()
    ) -> None:
        """A user, who reads private repos under the own name and the gated ones listed."""
        self._store.add_user(User(name, set(gated_access)))
        self._store.add_token(token, name)

    def set_gated_access(self, name: str, repos: Iterable[tuple[RepoType, str]]) -> None:
        """Replace the list of gated repos, as (type, id), that a user may read."""
        self._store.set_granted(name, set(repos))

    def add_repo(
        self,
        repo_type: RepoType,
        repo_id: str,
        folder: Path,
        *,
        private: bool = False,
        gated: bool = False,
        branches: Mapping[str, Path] | None = None,
        tags: Mapping[str, Path] | None = None,
        downloads: int = 0,
        likes: int = 0,
    ) -> str:
        """A repo whose main branch holds the folder's files as they are now; returns the commit.

        `branches` and `tags` name further revisions, each a folder's files too. A revision's
        commit id depends on its files only, so tags={"v1": folder} tags main.
        """
        if repo_type not in get_args(RepoType):
            raise ValueError(f"repo_type must be one of {get_args(RepoType)}, got {repo_type!r}")
        if repo_id.count("/") != 1 or not all(repo_id.split("/")):
            raise ValueError(f"repo_id must be owner/name, got {repo_id!r}")
        repo = Repo(repo_type, repo_id, private, gated, downloads, likes, self._next_repo_time)
        for name, branch_folder in {**(branches or {}), MAIN: folder}.items():
            repo.branches[name] = repo.add_commit(commit_of_folder(repo_type, branch_folder))
        for name, tag_folder in (tags or {}).items():
            repo.tags[name] = repo.add_commit(commit_of_folder(repo_type, tag_folder))
        self._store.add_repo(repo)
        self._next_repo_time += timedelta(minutes=1)  # so that the order of creation is an order
        return repo.branches[MAIN]

    def _running(self) -> tuple[Origin, Origin]:
        if self._origins is None:
            raise RuntimeError("the Hub is not running: use it inside `with HubServer() as hub:`")
        return self._origins
