"""Tokens of signed-in owners: only in memory, and only while they are valid."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from memshield import redaction
from memshield.redaction import HIDDEN, redact

_LONGER = 60.0
"""Seconds: tokens that do not tell their end last equally long from every request that brings
one."""


class Tokens:
    """Holds the tokens of owners, one for each browser that somebody is signed in with.

    Tokens that are held are redacted wherever this process writes.

    Args:
        now: the time, in seconds since the epoch.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._held: dict[str, dict[str, float]] = {}

    def __repr__(self) -> str:
        return f"Tokens of {len(self._held)} owners"

    def keep(self, owner: str, token: str, expires: float) -> None:
        """Hold a token of an owner until a time."""
        with self._lock:
            self._held.setdefault(owner, {})[token] = expires
            redaction.remember(token)
            self._drop_expired()

    def forget(self, token: str) -> None:
        """Drop the token of a session that signed out; other sessions of the owner keep theirs."""
        with self._lock:
            for held in self._held.values():
                held.pop(token, None)
        redaction.forget(token)

    def of(self, owner: str) -> str | None:
        """A token of an owner, while one is valid.

        Of several it is the same one every time: who looks at the owner's jobs begins anew with
        another. One that lasts longer takes its place, for it is of a later sign-in.
        """
        with self._lock:
            self._drop_expired()
            held = self._held.get(owner)
            if not held:
                return None
            first, longest = next(iter(held)), max(held, key=held.__getitem__)
            return longest if held[longest] >= held[first] + _LONGER else first

    def hide(self, text: str) -> str:
        """A text without any token that is held, or looks like one."""
        with self._lock:
            self._drop_expired()
            held = [token for tokens in self._held.values() for token in tokens]
        for token in held:
            text = text.replace(token, HIDDEN)
        return redact(text)

    def drop_expired(self) -> None:
        """Drop tokens that have expired; looking one up does that as well."""
        with self._lock:
            self._drop_expired()

    def _drop_expired(self) -> None:
        now = self._now()
        for owner, held in list(self._held.items()):
            for token in [one for one, expires in held.items() if expires <= now]:
                del held[token]
                redaction.forget(token)
            if not held:
                del self._held[owner]
