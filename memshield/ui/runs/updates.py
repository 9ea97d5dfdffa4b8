"""What is sent to tabs that look at the same thing: made once, and sent where it is new."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

_KEPT = 32


@dataclass(frozen=True)
class Made:
    """Values for outputs.

    Attributes:
        values: texts, or what `gr.update` gives.
        digests: of each.
    """

    values: tuple[Any, ...]
    digests: tuple[str, ...]

    @classmethod
    def of(cls, values: Sequence[Any]) -> Made:
        """Digest values."""
        return cls(tuple(values), tuple(map(_digest, values)))

    def __getitem__(self, part: slice) -> Made:
        """Some of them."""
        return Made(self.values[part], self.digests[part])

    def only_new(self, sent: Sequence[str]) -> list[Any]:
        """The values, with `gr.skip()` in place of those that a tab shows already.

        Args:
            sent: digests of what the tab shows; empty for one that shows nothing yet.
        """
        known = sent if len(sent) == len(self.digests) else [""] * len(self.digests)
        return [
            gr.skip() if before == now else value
            for value, before, now in zip(self.values, known, self.digests, strict=True)
        ]


class MadeOnce:
    """Values for outputs, by what they are made from: twenty tabs do not make them twenty times."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: OrderedDict[Hashable, Made] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Sequence[Any]]) -> Made:
        """The values of a key; two threads that miss at once make them twice, which is no harm.

        Args:
            key: all that the values depend on, the owner of what they tell included.
            make: makes them.
        """
        with self._lock:
            if key in self._made:
                self._made.move_to_end(key)
                return self._made[key]
        made = Made.of(make())
        with self._lock:
            self._made[key] = made
            while len(self._made) > _KEPT:
                self._made.popitem(last=False)
        return made


def _digest(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
