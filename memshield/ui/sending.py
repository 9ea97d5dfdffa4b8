"""What is sent to tabs that look at the same thing: made once, and sent where it is new."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import gradio as gr

_KEPT = 32


class MadeOnce:
    """Values for outputs, by what they are made from: twenty tabs do not make them twenty times."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: OrderedDict[Hashable, Sequence[Any]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Sequence[Any]]) -> Sequence[Any]:
        """The values of a key; two threads that miss at once make them twice, which is no harm.

        Args:
            key: all that the values depend on, the owner of what they tell included.
            make: makes them.
        """
        with self._lock:
            if key in self._made:
                self._made.move_to_end(key)
                return self._made[key]
        made = make()
        with self._lock:
            self._made[key] = made
            while len(self._made) > _KEPT:
                self._made.popitem(last=False)
        return made


def only_new(values: Sequence[Any], sent: Sequence[str]) -> tuple[list[Any], list[str]]:
    """Values for outputs, without those that the tab shows already.

    Args:
        values: texts, or what `gr.update` gives.
        sent: what the last call returned for this tab; empty for a tab that shows nothing yet.

    Returns:
        Values, `gr.skip()` in place of what is shown already; and what is shown then.
    """
    digests = [_digest(value) for value in values]
    known = sent if len(sent) == len(digests) else [""] * len(digests)
    new = [
        gr.skip() if before == now else value
        for value, before, now in zip(values, known, digests, strict=True)
    ]
    return new, digests


def _digest(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
