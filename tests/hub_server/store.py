"""Everything the Hub knows: users, tokens, repos and LFS content. No HTTP here."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from tests.hub_server.blobs import Blob
from tests.hub_server.repo import Repo, RepoType
from tests.hub_server.users import Identity, Token, User

FIRST_TIME = datetime(2024, 1, 1, tzinfo=UTC)


class Store:
    """Tables under one lock, for every connection has a thread of its own.

    `lock` is for changes that must see no other one in between, such as a commit. Readers need
    it not: what a repo holds is replaced, never altered.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._users: dict[str, User] = {}
        self._tokens: dict[str, Token] = {}
        self._repos: dict[tuple[RepoType, str], Repo] = {}
        self._lfs: dict[str, Blob] = {}
        self._quotas: dict[str, int] = {}
        self._time = FIRST_TIME

    def tick(self) -> datetime:
        """The time of a change: later than that of the change before it."""
        with self.lock:
            now, self._time = self._time, self._time + timedelta(minutes=1)
            return now

    def add_user(self, user: User) -> None:
        with self.lock:
            if user.name in self._users:
                raise ValueError(f"user names must be unique, {user.name!r} exists already")
            self._users[user.name] = user

    def user(self, name: str) -> User:
        with self.lock:
            if name not in self._users:
                raise ValueError(f"no user {name!r}: add it with add_user first")
            return self._users[name]

    def user_names(self) -> list[str]:
        with self.lock:
            return list(self._users)

    def set_granted(self, user_name: str, granted: set[tuple[RepoType, str]]) -> None:
        with self.lock:
            self.user(user_name).granted = granted

    def add_token(self, token: Token) -> None:
        with self.lock:
            self.user(token.user_name)
            if token.value in self._tokens:
                raise ValueError("tokens must be unique, this one exists already")
            self._tokens[token.value] = token

    def remove_token(self, value: str) -> None:
        with self.lock:
            if self._tokens.pop(value, None) is None:
                raise ValueError("no such token: it was never added, or has expired already")

    def identity(self, token_value: str) -> Identity | None:
        """The token and its owner, if the token is good."""
        with self.lock:
            token = self._tokens.get(token_value)
            return None if token is None else Identity(self._users[token.user_name], token)

    def add_repo(self, repo: Repo) -> None:
        key = (repo.repo_type, repo.repo_id)
        with self.lock:
            if key in self._repos:
                raise ValueError(f"repo ids must be unique, {repo.repo_id!r} exists already")
            self._repos[key] = repo
            for commit in repo.commits.values():
                for blob in commit.files.values():
                    if blob.is_lfs:
                        self.add_lfs(repo, blob)

    def repo(self, repo_type: RepoType, repo_id: str) -> Repo | None:
        with self.lock:
            return self._repos.get((repo_type, repo_id))

    def repos(self, repo_type: RepoType) -> list[Repo]:
        """All repos of a type, in the order in which they were added."""
        with self.lock:
            return [repo for repo in self._repos.values() if repo.repo_type == repo_type]

    def add_lfs(self, repo: Repo, blob: Blob) -> None:
        """Keep content for one repo. Another repo that wants the same must be sent it too, or
        knowing a hash would be enough to read what is private."""
        with self.lock:
            self._lfs[blob.sha256] = blob
            repo.lfs = {**repo.lfs, blob.sha256: blob}

    def lfs(self, sha256: str) -> Blob | None:
        with self.lock:
            return self._lfs.get(sha256)

    def set_quota(self, owner: str, size: int) -> None:
        with self.lock:
            self._quotas[owner] = size

    def quota(self, owner: str) -> int | None:
        """The most bytes that the owner may store, or None without a limit."""
        with self.lock:
            return self._quotas.get(owner)
