"""Outputs that several open pages share: made once, and sent only to pages that lack them."""

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
class Outputs:
    """Values of a handler's outputs.

    Attributes:
        values: texts, or results of `gr.update`.
        digests: of the values.
    """

    values: tuple[Any, ...]
    digests: tuple[str, ...]

    @classmethod
    def of(cls, values: Sequence[Any]) -> Outputs:
        """Digest the values."""
        return cls(tuple(values), tuple(map(_digest, values)))

    def __getitem__(self, part: slice) -> Outputs:
        """Take a slice of the outputs."""
        return Outputs(self.values[part], self.digests[part])

    def only_new(self, sent: Sequence[str]) -> list[Any]:
        """Replace values that a page shows already with `gr.skip()`.

        Args:
            sent: digests of what the page shows; empty if it shows nothing yet.
        """
        known = sent if len(sent) == len(self.digests) else [""] * len(self.digests)
        return [
            gr.skip() if before == now else value
            for value, before, now in zip(self.values, known, self.digests, strict=True)
        ]


class OutputCache:
    """Keeps outputs by what they are made from, so that twenty pages need not make them anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: OrderedDict[Hashable, Outputs] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Sequence[Any]]) -> Outputs:
        """Return the outputs of a key, and make them if needed; concurrent misses make them twice.

        Args:
            key: all that the values depend on, including their owner.
            make: makes the values.
        """
        with self._lock:
            if key in self._made:
                self._made.move_to_end(key)
                return self._made[key]
        made = Outputs.of(make())
        with self._lock:
            self._made[key] = made
            while len(self._made) > _KEPT:
                self._made.popitem(last=False)
        return made


def _digest(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
