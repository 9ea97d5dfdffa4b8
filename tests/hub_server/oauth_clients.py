"""The apps that users sign in to, and the codes that they are sent away with."""

from __future__ import annotations

import hmac
import secrets
import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Grant:
    """What a user has allowed an app, until the app fetches its token."""

    user_name: str
    client_id: str
    redirect_uri: str
    scopes: frozenset[str]
    nonce: str | None


class OAuthClients:
    """Tables of apps and of codes that are still good."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._secrets: dict[str, str] = {}
        self._grants: dict[str, Grant] = {}

    def add(self, client_id: str, client_secret: str) -> None:
        with self._lock:
            if client_id in self._secrets:
                raise ValueError(f"client ids must be unique, {client_id!r} exists already")
            self._secrets[client_id] = client_secret

    def secret(self, client_id: str) -> str | None:
        with self._lock:
            return self._secrets.get(client_id)

    def is_authentic(self, client_id: str, client_secret: str) -> bool:
        known = self.secret(client_id)
        return known is not None and hmac.compare_digest(known, client_secret)

    def issue_code(self, grant: Grant) -> str:
        code = secrets.token_urlsafe(16)
        with self._lock:
            self._grants[code] = grant
        return code

    def redeem_code(self, code: str) -> Grant | None:
        """The code's grant. A code is good for once."""
        with self._lock:
            return self._grants.pop(code, None)
