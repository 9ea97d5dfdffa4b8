"""What belongs to which browser: ids of sessions, calls and uploads, and paths of uploads."""

from __future__ import annotations

import threading
from collections import OrderedDict

_MOST = 100_000
_LONGEST = 128
"""Characters of an id. gradio's have at most 43."""


class Belongings:
    """Remembers whose an id is, and who was given a path.

    An id belongs to the browser that uses it first: browsers make up those of sessions and of
    uploads, and the server tells those of calls to who called. One namespace holds them all: a
    call without a session has its own id for one.

    A path is of its content and name, so that several browsers may be given the same.

    Args:
        most: of ids, and of paths, that are kept; those not used for longest are forgotten.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._owners: OrderedDict[str, str] = OrderedDict()
        self._given: OrderedDict[tuple[str, str], None] = OrderedDict()

    def claim(self, browser: str, id: str) -> bool:
        """Whether an id is a browser's: it was already, or is from now on."""
        if not 0 < len(id) <= _LONGEST:
            return False
        with self._lock:
            owner = self._owners.setdefault(id, browser)
            self._owners.move_to_end(id)
            if len(self._owners) > self._most:
                self._owners.popitem(last=False)
        return owner == browser

    def give(self, browser: str, path: str) -> None:
        """Let a browser use a path."""
        with self._lock:
            self._given[browser, path] = None
            self._given.move_to_end((browser, path))
            if len(self._given) > self._most:
                self._given.popitem(last=False)

    def has(self, browser: str, path: str) -> bool:
        """Whether a browser was given a path."""
        with self._lock:
            return (browser, path) in self._given
