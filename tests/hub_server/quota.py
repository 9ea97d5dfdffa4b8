"""How much an owner may store."""

from __future__ import annotations

from typing import get_args

from tests.hub_server.repo import Repo, RepoType
from tests.hub_server.store import Store


def no_room(store: Store, repo: Repo, size: int) -> str | None:
    """Why `size` more bytes may not be stored in the repo, or None if they may. What is private
    and what is public are counted apart, each against the whole quota."""
    quota = store.quota(repo.author)
    if quota is None:
        return None
    with store.lock:
        used = sum(
            sum(other.stored.values())
            for repo_type in get_args(RepoType)
            for other in store.repos(repo_type)
            if (other.author, other.private) == (repo.author, repo.private)
        )
    if used + size <= quota:
        return None
    kind = "private" if repo.private else "public"
    return (
        f"{kind.capitalize()} repository storage limit reached, please upgrade your plan to "
        f"increase your {kind} storage limit"
    )
