"""Who searched last in a box, while some still wait for the Hub."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PAUSE = 0.5
"""Seconds that a text stands still before it is searched for."""


class Turns:
    """Searches of one box by one visitor; answers that came too late are told by it.

    gradio gives all calls of a visitor the same one, also those that run at once.

    Attributes:
        picked: what came into the box from the list; "" where somebody typed since.
    """

    def __init__(self) -> None:
        self.picked = ""
        self._last = 0
        self._asking = asyncio.Lock()
        self._asked = -1e9

    def take(self) -> int:
        """The next turn, after which none of the earlier ones is the last."""
        self._last += 1
        return self._last

    def is_last(self, turn: int) -> bool:
        """Whether nobody has taken another since."""
        return turn == self._last

    @asynccontextmanager
    async def pause(self, turn: int, seconds: float) -> AsyncIterator[bool]:
        """Wait for a text to stand still, and for the one before it to be answered.

        Args:
            turn: of the text.
            seconds: at least between the beginnings of two searches.

        Returns:
            Whether it is still the last: inside, the Hub may be asked.
        """
        await asyncio.sleep(PAUSE)
        if not self.is_last(turn):
            yield False
            return
        async with self._asking:
            left = self._asked + seconds - time.monotonic()
            if left > 0 and self.is_last(turn):
                await asyncio.sleep(left)
            if not self.is_last(turn):
                yield False
                return
            self._asked = time.monotonic()
            yield True
