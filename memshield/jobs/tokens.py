"""Tokens of people who are signed in: in memory, for as long as they are valid, nowhere else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from memshield import redaction
from memshield.redaction import HIDDEN, redact


class Tokens:
    """One token an owner; what is held is redacted wherever this process writes.

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
        """Drop a token that was signed out; whoever signed in elsewhere as well stays so there."""
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
        """Hold what is valid still, and nothing else; asking for tokens does that as well."""
        with self._lock:
            self._drop_expired()

    def _drop_expired(self) -> None:
        now = self._now()
        for owner in [one for one, (_, expires) in self._held.items() if expires <= now]:
            self._drop(owner)

    def _drop(self, owner: str) -> None:
        token, _ = self._held.pop(owner, ("", 0.0))
        redaction.forget(token)
