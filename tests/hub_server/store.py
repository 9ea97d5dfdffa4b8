"""Everything the Hub knows: users, tokens, repos and LFS content. No HTTP here."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from tests.hub_server.repo import Repo, RepoType


@dataclass
class User:
    """An account. `granted` holds the gated repos that it was let into."""

    name: str
    granted: set[tuple[RepoType, str]] = field(default_factory=set)


class Store:
    """Tables under one lock, for every connection has a thread of its own."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._users: dict[str, User] = {}
        self._names_by_token: dict[str, str] = {}
        self._repos: dict[tuple[RepoType, str], Repo] = {}
        self._lfs: dict[str, bytes] = {}

    def add_user(self, user: User) -> None:
        with self._lock:
            if user.name in self._users:
                raise ValueError(f"user names must be unique, {user.name!r} exists already")
            self._users[user.name] = user

    def add_token(self, token: str, user_name: str) -> None:
        with self._lock:
            if token in self._names_by_token:
                raise ValueError("tokens must be unique, this one is another user's")
            self._names_by_token[token] = self.user(user_name).name

    def user(self, name: str) -> User:
        with self._lock:
            if name not in self._users:
                raise ValueError(f"no user {name!r}: add it with add_user first")
            return self._users[name]

    def user_of_token(self, token: str) -> User | None:
        with self._lock:
            name = self._names_by_token.get(token)
            return None if name is None else self._users[name]

    def set_granted(self, user_name: str, granted: set[tuple[RepoType, str]]) -> None:
        with self._lock:
            self.user(user_name).granted = granted

    def add_repo(self, repo: Repo) -> None:
        key = (repo.repo_type, repo.repo_id)
        with self._lock:
            if key in self._repos:
                raise ValueError(f"repo ids must be unique, {repo.repo_id!r} exists already")
            self._repos[key] = repo
            for commit in repo.commits.values():
                for blob in commit.files.values():
                    if blob.is_lfs:
                        self._lfs[blob.sha256] = blob.data

    def repo(self, repo_type: RepoType, repo_id: str) -> Repo | None:
        with self._lock:
            return self._repos.get((repo_type, repo_id))

    def repos(self, repo_type: RepoType) -> list[Repo]:
        """All repos of a type, in the order in which they were added."""
        with self._lock:
            return [repo for repo in self._repos.values() if repo.repo_type == repo_type]

    def lfs_content(self, sha256: str) -> bytes | None:
        with self._lock:
            return self._lfs.get(sha256)
