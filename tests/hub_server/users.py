"""Who there is, and who is asking: users, their tokens, and what a token is good for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tests.hub_server.repo import RepoType

Role = Literal["read", "write"]


@dataclass
class User:
    """An account. `granted` holds the gated repos that it was let into, `orgs` the namespaces
    that it shares with others."""

    name: str
    granted: set[tuple[RepoType, str]] = field(default_factory=set)
    orgs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Token:
    """`scopes` and `client_id` are those of a sign-in through an OAuth app; a token that the
    user made by hand has neither. `permissions` are those of a fine-grained one."""

    value: str = field(repr=False)
    user_name: str
    role: Role = "write"
    scopes: frozenset[str] | None = None
    client_id: str | None = None
    permissions: frozenset[str] | None = None


@dataclass(frozen=True)
class Identity:
    """A user, as far as one token stands for them."""

    user: User
    token: Token

    def owns(self, namespace: str) -> bool:
        """Whether the namespace is the user's own or that of an org of theirs."""
        return namespace == self.user.name or namespace in self.user.orgs

    def has_scope(self, *scopes: str) -> bool:
        """Whether the token has one of the scopes; one made by hand has them all."""
        return self.token.scopes is None or not self.token.scopes.isdisjoint(scopes)

    def may(self, permission: str) -> bool:
        """Whether the token has a permission, which only a fine-grained one may lack."""
        return self.token.permissions is None or permission in self.token.permissions
