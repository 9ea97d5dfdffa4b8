"""Tokens of people who are signed in: in memory, for as long as they are valid, nowhere else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from memshield.redaction import HIDDEN, redact


class Tokens:
    """One token an owner.

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
            self._held[owner] = (token, expires)

    def forget(self, owner: str) -> None:
        """Drop the token of an owner who signed out."""
        with self._lock:
            self._held.pop(owner, None)

    def of(self, owner: str) -> str | None:
        """The token of an owner, while it is valid."""
        with self._lock:
            token, expires = self._held.get(owner, (None, 0.0))
            if expires <= self._now():
                self._held.pop(owner, None)
                return None
            return token

    def hide(self, text: str) -> str:
        """A text without any token that is held, or looks like one."""
        with self._lock:
            held = [token for token, _ in self._held.values()]
        for token in held:
            text = text.replace(token, HIDDEN)
        return redact(text)
