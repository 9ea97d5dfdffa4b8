"""The Hub as tests use it: start it, fill it, see what was asked of it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import get_args

from tests.hub_server.app import answer
from tests.hub_server.blobs import Blob, is_lfs
from tests.hub_server.buckets.bucket import Buckets
from tests.hub_server.call import Hub
from tests.hub_server.commit import Commit, commit_of_folder
from tests.hub_server.content import answer_content
from tests.hub_server.environment import child_environment
from tests.hub_server.faults import Fault, FaultPlan
from tests.hub_server.jobs.runner import JobRunner
from tests.hub_server.oauth_clients import OAuthClients
from tests.hub_server.record import RecordedRequest, RequestLog
from tests.hub_server.repo import MAIN, Repo, RepoType
from tests.hub_server.store import Store
from tests.hub_server.transport import Origin
from tests.hub_server.users import Role, Token, User


class HubServer:
    """A Hub on two loopback ports: one for the API and files, one for LFS content.

    `page_size` is the most that one page of a list holds; a small one makes clients turn pages.
    `records_have_ids` is False for a Hub like KohakuHub, whose record of a repository names its
    files without their ids and sizes.
    With `keep_bodies` the bodies of all requests are kept, so that a test can search them.
    Users and repos can be added before and while it runs.
    """

    def __init__(
        self, *, page_size: int = 1000, records_have_ids: bool = True, keep_bodies: bool = False
    ) -> None:
        self._records_have_ids = records_have_ids
        self._store = Store()
        self._clients = OAuthClients()
        self._log = RequestLog()
        if keep_bodies:
            self._log.bodies = []
        self._faults = FaultPlan()
        self._page_size = page_size
        self._origins: tuple[Origin, Origin] | None = None

    def __enter__(self) -> HubServer:
        hub_origin = Origin("hub", self._log, self._faults)
        content_origin = Origin("content", self._log, self._faults)
        self._folder = TemporaryDirectory(prefix="hub-")
        root = Path(self._folder.name)
        for name in ("buckets", "jobs"):
            (root / name).mkdir()
        self.buckets, self.jobs = Buckets(root / "buckets"), JobRunner(root / "jobs")
        hub = Hub(
            store=self._store,
            clients=self._clients,
            endpoint=hub_origin.url,
            content_endpoint=content_origin.url,
            page_size=self._page_size,
            signing_key=secrets.token_bytes(),
            buckets=self.buckets,
            jobs=self.jobs,
            chunk_token=secrets.token_urlsafe(),
            records_have_ids=self._records_have_ids,
        )
        content_origin.start(partial(answer_content, hub))
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
        self.jobs.close()
        for origin in origins:
            origin.close()
        self._folder.cleanup()
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

    @property
    def bodies(self) -> tuple[bytes, ...]:
        """The bodies of all requests so far, where they are kept."""
        return tuple(self._log.bodies or ())

    def environ(self, home: Path, token: str | None = None) -> dict[str, str]:
        """The whole environment for a child process that is to use this Hub, with its cache in
        `home`, signed in by `token` or signed out."""
        return child_environment(os.environ, self.endpoint, home, token)

    def add_user(
        self,
        name: str,
        token: str,
        *,
        gated_access: Iterable[tuple[RepoType, str]] = (),
        orgs: Iterable[str] = (),
    ) -> None:
        """A user with a token that may write. Users own what is under their name and under that
        of their orgs, and may read the gated repos listed."""
        self._store.add_user(User(name, set(gated_access), tuple(orgs)))
        self.add_token(name, token)

    def add_token(
        self,
        name: str,
        token: str,
        role: Role = "write",
        permissions: Iterable[str] | None = None,
    ) -> None:
        """One more token of a user; with permissions, a fine-grained one."""
        if role not in get_args(Role):
            raise ValueError(f"role must be one of {get_args(Role)}, got {role!r}")
        few = None if permissions is None else frozenset(permissions)
        self._store.add_token(Token(token, name, role, permissions=few))

    def add_oauth_token(
        self, name: str, token: str, scopes: Iterable[str], *, client_id: str = "app"
    ) -> None:
        """A token as a user's sign-in through an OAuth app gives, without the sign-in."""
        self._store.add_token(Token(token, name, scopes=frozenset(scopes), client_id=client_id))

    def expire_token(self, token: str) -> None:
        """From now on the token is as good as none that ever was."""
        self._store.remove_token(token)

    def add_oauth_client(self, client_id: str, client_secret: str) -> None:
        """An app that users can sign in to."""
        self._clients.add(client_id, client_secret)

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
        now = self._store.tick()
        repo = Repo(repo_type, repo_id, private, gated, downloads, likes, now, now)
        for name, branch_folder in {**(branches or {}), MAIN: folder}.items():
            repo.add_commit(commit_of_folder(repo_type, branch_folder), branch=name)
        repo.tags = {
            name: repo.add_commit(commit_of_folder(repo_type, tag_folder))
            for name, tag_folder in (tags or {}).items()
        }
        self._store.add_repo(repo)
        return repo.branches[MAIN]

    def add_files(self, repo_type: RepoType, repo_id: str, files: Mapping[str, bytes]) -> str:
        """A public repo of files by any path, those that no folder could hold among them; returns
        the commit."""
        now = self._store.tick()
        repo = Repo(repo_type, repo_id, False, False, 0, 0, now, now)
        blobs = {
            path: Blob(data, is_lfs(repo_type, path, len(data))) for path, data in files.items()
        }
        repo.add_commit(Commit(blobs), branch=MAIN)
        self._store.add_repo(repo)
        return repo.branches[MAIN]

    def set_quota(self, owner: str, size: int) -> None:
        """The most bytes that an owner may store in private repos, and in public ones."""
        self._store.set_quota(owner, size)

    def fail(self, *faults: Fault) -> None:
        """Let requests go wrong; see Fault."""
        self._faults.add(*faults)

    def clear_faults(self) -> None:
        """Let no more requests go wrong."""
        self._faults.clear()

    def exists(self, repo_type: RepoType, repo_id: str) -> bool:
        """Whether there is such a repo, whoever may see it."""
        return self._store.repo(repo_type, repo_id) is not None

    def is_private(self, repo_type: RepoType, repo_id: str) -> bool:
        """Whether only its owners may see the repo."""
        return self._repo(repo_type, repo_id).private

    def head(self, repo_type: RepoType, repo_id: str, branch: str = MAIN) -> str:
        """The id of a branch's last commit."""
        return self._repo(repo_type, repo_id).head(branch).oid

    def tags(self, repo_type: RepoType, repo_id: str) -> dict[str, str]:
        """From each tag to the id of its commit."""
        return dict(self._repo(repo_type, repo_id).tags)

    def repo_files(
        self, repo_type: RepoType, repo_id: str, revision: str = MAIN
    ) -> dict[str, bytes]:
        """The content of all files at a revision, by path."""
        files = self._repo(repo_type, repo_id).commit(revision).files
        return {path: bytes(blob.data) for path, blob in files.items()}

    def _repo(self, repo_type: RepoType, repo_id: str) -> Repo:
        repo = self._store.repo(repo_type, repo_id)
        if repo is None:
            raise ValueError(f"there is no {repo_type} {repo_id!r} on this Hub")
        return repo

    def _running(self) -> tuple[Origin, Origin]:
        if self._origins is None:
            raise RuntimeError("the Hub is not running: use it inside `with HubServer() as hub:`")
        return self._origins
