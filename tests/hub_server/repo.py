"""A repo: its commits, the names that point at them, and what its page says."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from urllib.parse import quote

from tests.hub_server.commit import Commit
from tests.hub_server.messages import HubError

RepoType = Literal["model", "dataset"]

MAIN = "main"


@dataclass
class Repo:
    """`branches` and `tags` map names to ids in `commits`; a branch "main" is always there."""

    repo_type: RepoType
    repo_id: str
    private: bool
    gated: bool
    downloads: int
    likes: int
    created_at: datetime
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def author(self) -> str:
        return self.repo_id.partition("/")[0]

    def add_commit(self, commit: Commit) -> str:
        """Keep a commit; a branch or a tag has yet to point at it. Returns its id."""
        self.commits[commit.oid] = commit
        return commit.oid

    def commit(self, revision: str = MAIN) -> Commit:
        """The commit that a branch, a tag or a whole commit id stands for."""
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        if oid not in self.commits:
            raise HubError(404, f"Invalid rev id: {quote(revision)}", "RevisionNotFound")
        return self.commits[oid]
