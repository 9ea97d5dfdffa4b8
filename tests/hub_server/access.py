"""Who may see and change what. The Hub's rules, with the answers that its clients know."""

from __future__ import annotations

from tests.hub_server.messages import HubError
from tests.hub_server.repo import Repo, RepoType
from tests.hub_server.store import Store
from tests.hub_server.users import Identity

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="Authentication required", charset="UTF-8"'}

# What an OAuth app must have been granted. Beside these, CONTRIBUTE opens the repos that were
# created through the app itself.
CONTRIBUTE = "contribute-repos"
READ_SCOPES = ("read-repos", "write-repos", "manage-repos")
WRITE_SCOPES = ("write-repos", "manage-repos")
CREATE_SCOPES = (CONTRIBUTE, "manage-repos")
GATED_SCOPES = ("gated-repos",)


def identify(store: Store, authorization: str | None) -> Identity | None:
    """The token and its owner, or None for a visitor without a token."""
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    identity = store.identity(token) if scheme.lower() == "bearer" else None
    if identity is None:
        # Even for public repos. Clients compare this very sentence.
        raise HubError(401, "Invalid credentials in Authorization header", headers=CHALLENGE)
    return identity


def require_identity(identity: Identity | None) -> Identity:
    """For calls that make no sense signed out."""
    if identity is None:
        raise HubError(401, "Invalid username or password.", headers=CHALLENGE)
    return identity


def is_visible(repo: Repo, identity: Identity | None) -> bool:
    """Private repos exist for their owners only."""
    return not repo.private or (
        identity is not None
        and identity.owns(repo.author)
        and _reaches(identity, repo, READ_SCOPES)
    )


def visible_repo(
    store: Store, repo_type: RepoType, repo_id: str, identity: Identity | None
) -> Repo:
    """The repo, or the same answer for a missing one as for someone else's private one."""
    repo = store.repo(repo_type, repo_id)
    if repo is not None and is_visible(repo, identity):
        return repo
    if identity is None:
        # Signed out, the Hub does not say "not found": signing in might help.
        raise HubError(401, "Repository not found", "RepoNotFound", CHALLENGE)
    raise HubError(404, "Repository not found", "RepoNotFound")


def require_content(repo: Repo, identity: Identity | None) -> None:
    """Gated repos show what they hold to everyone, but hand it out to granted users only."""
    if not repo.gated:
        return
    subject = f"Access to {repo.repo_type} {repo.repo_id} is restricted"
    if identity is None:
        message = f"{subject}. You must be signed in, and granted access, to read it."
        raise HubError(401, message, "GatedRepo", CHALLENGE)
    is_granted = (repo.repo_type, repo.repo_id) in identity.user.granted
    if not (
        (identity.owns(repo.author) and _reaches(identity, repo, READ_SCOPES))
        or (is_granted and identity.has_scope(*GATED_SCOPES))
    ):
        message = f"{subject} and you are not in the authorized list. Ask for access on its page."
        raise HubError(403, message, "GatedRepo")


def require_create(namespace: str, identity: Identity | None) -> Identity:
    """Whether the user may create repos under this name, with this token."""
    identity = _require_write_token(identity)
    if not identity.owns(namespace):
        raise HubError(403, f"You cannot create a repo under the namespace {namespace!r}.")
    if not identity.has_scope(*CREATE_SCOPES):
        raise HubError(403, "This token has no scope that lets it create repos.")
    return identity


def require_write(repo: Repo, identity: Identity | None) -> None:
    """Whether the user may change the repo, with this token."""
    identity = _require_write_token(identity)
    if not identity.owns(repo.author):
        raise HubError(403, f"You are not among those who may write to {repo.repo_id}.")
    if not _reaches(identity, repo, WRITE_SCOPES):
        raise HubError(403, f"This token has no scope that lets it write to {repo.repo_id}.")


def _require_write_token(identity: Identity | None) -> Identity:
    identity = require_identity(identity)
    if identity.token.role == "read":
        raise HubError(403, "This token may only read: a token with write access is needed.")
    return identity


def _reaches(identity: Identity, repo: Repo, scopes: tuple[str, ...]) -> bool:
    is_own = repo.client_id is not None and repo.client_id == identity.token.client_id
    return identity.has_scope(*scopes) or (is_own and identity.has_scope(CONTRIBUTE))
