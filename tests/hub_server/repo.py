"""A repo: its commits, the names that point at them, and what its page says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from urllib.parse import quote

from tests.hub_server.blobs import Blob
from tests.hub_server.commit import Commit
from tests.hub_server.messages import HubError

RepoType = Literal["model", "dataset"]

MAIN = "main"


@dataclass
class Repo:
    """`branches` and `tags` map names to ids in `commits`; a branch "main" is always there.

    `lfs` holds the LFS content that was uploaded to it, by hash, whether a commit names it or
    not. `client_id` is the OAuth app through which the repo was created, if it was.
    """

    repo_type: RepoType
    repo_id: str
    private: bool
    gated: bool
    downloads: int
    likes: int
    created_at: datetime
    updated_at: datetime
    client_id: str | None = None
    commits: Mapping[str, Commit] = field(default_factory=dict)
    branches: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    lfs: Mapping[str, Blob] = field(default_factory=dict)

    @property
    def author(self) -> str:
        return self.repo_id.partition("/")[0]

    @property
    def path(self) -> str:
        """Where its pages and files are, below the endpoint."""
        return f"datasets/{self.repo_id}" if self.repo_type == "dataset" else self.repo_id

    @property
    def stored(self) -> Mapping[str, int]:
        """The size of all content in its history and in LFS, by hash: each is stored once."""
        blobs = [blob for commit in self.commits.values() for blob in commit.files.values()]
        return {blob.etag: blob.size for blob in [*blobs, *self.lfs.values()]}

    def add_commit(self, commit: Commit, *, branch: str | None = None) -> str:
        """Keep a commit, and let the branch point at it; returns its id."""
        self.commits = {**self.commits, commit.oid: commit}
        if branch is not None:
            self.branches = {**self.branches, branch: commit.oid}
        return commit.oid

    def commit(self, revision: str = MAIN) -> Commit:
        """The commit that a branch, a tag or a whole commit id stands for."""
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        if oid not in self.commits:
            raise revision_not_found(revision)
        return self.commits[oid]

    def head(self, branch: str) -> Commit:
        """The last commit of a branch: only these can be committed to."""
        if branch not in self.branches:
            raise revision_not_found(branch)
        return self.commits[self.branches[branch]]


def revision_not_found(revision: str) -> HubError:
    """The answer to a name that is no branch, tag or commit."""
    return HubError(404, f"Invalid rev id: {quote(revision)}", "RevisionNotFound")
