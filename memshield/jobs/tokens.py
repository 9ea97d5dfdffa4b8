"""Tokens of signed-in owners: only in memory, and only while they are valid."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from memshield import redaction
from memshield.redaction import HIDDEN, redact


class Tokens:
    """Holds one token an owner; tokens that are held are redacted wherever this process writes.

    Args:
        now: the time, in seconds since the epoch.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._held: dict[str, tuple[str, float]] = {}

    def __repr__(self) -> str:
        return f"Tokens of {len(self._held)} owners"

    def keep(self, owner: str, token: str, expires: float) -> None:
        """Hold the token of an owner until a time; an earlier one is dropped."""
        with self._lock:
            if self._held.get(owner, (token, 0.0))[0] != token:
                self._drop(owner)
            self._held[owner] = (token, expires)
            redaction.remember(token)
            self._drop_expired()

    def forget(self, token: str) -> None:
        """Drop the token of a session that signed out; other sessions of the owner keep theirs."""
        with self._lock:
            for owner in [one for one, (held, _) in self._held.items() if held == token]:
                self._drop(owner)
        redaction.forget(token)

    def of(self, owner: str) -> str | None:
        """The token of an owner, while it is valid."""
        with self._lock:
            self._drop_expired()
            return self._held.get(owner, (None, 0.0))[0]

    def hide(self, text: str) -> str:
        """A text without any token that is held, or looks like one."""
        with self._lock:
            self._drop_expired()
            held = [token for token, _ in self._held.values()]
        for token in held:
            text = text.replace(token, HIDDEN)
        return redact(text)

    def drop_expired(self) -> None:
        """Drop tokens that have expired; looking one up does that as well."""
        with self._lock:
            self._drop_expired()

    def _drop_expired(self) -> None:
        now = self._now()
        for owner in [one for one, (_, expires) in self._held.items() if expires <= now]:
            self._drop(owner)

    def _drop(self, owner: str) -> None:
        token, _ = self._held.pop(owner, ("", 0.0))
        redaction.forget(token)
