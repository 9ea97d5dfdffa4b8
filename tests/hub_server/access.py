"""Who may see what. The Hub's rules, with the answers that its clients know."""

from __future__ import annotations

from tests.hub_server.messages import HubError
from tests.hub_server.repo import Repo, RepoType
from tests.hub_server.store import Store, User

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="Authentication required", charset="UTF-8"'}


def identify(store: Store, authorization: str | None) -> User | None:
    """The token's owner, or None for a visitor without a token."""
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    user = store.user_of_token(token) if scheme.lower() == "bearer" else None
    if user is None:
        # Even for public repos. Clients compare this very sentence.
        raise HubError(401, "Invalid credentials in Authorization header", headers=CHALLENGE)
    return user


def require_user(user: User | None) -> User:
    """For calls that make no sense signed out."""
    if user is None:
        raise HubError(401, "Invalid username or password.", headers=CHALLENGE)
    return user


def is_visible(repo: Repo, user: User | None) -> bool:
    """Private repos exist for their owner only."""
    return not repo.private or (user is not None and user.name == repo.author)


def visible_repo(store: Store, repo_type: RepoType, repo_id: str, user: User | None) -> Repo:
    """The repo, or the same answer for a missing one as for someone else's private one."""
    repo = store.repo(repo_type, repo_id)
    if repo is not None and is_visible(repo, user):
        return repo
    if user is None:
        # Signed out, the Hub does not say "not found": signing in might help.
        raise HubError(401, "Repository not found", "RepoNotFound", CHALLENGE)
    raise HubError(404, "Repository not found", "RepoNotFound")


def require_content(repo: Repo, user: User | None) -> None:
    """Gated repos show what they hold to everyone, but hand it out to granted users only."""
    if not repo.gated:
        return
    subject = f"Access to {repo.repo_type} {repo.repo_id} is restricted"
    if user is None:
        message = f"{subject}. You must be signed in, and granted access, to read it."
        raise HubError(401, message, "GatedRepo", CHALLENGE)
    key = (repo.repo_type, repo.repo_id)
    if user.name != repo.author and key not in user.granted:
        message = f"{subject} and you are not in the authorized list. Ask for access on its page."
        raise HubError(403, message, "GatedRepo")
