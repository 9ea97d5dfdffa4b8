"""Retries: when the Hub is busy or out of reach, wait as it asks, up to a limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from itertools import count
from typing import Protocol, TypeVar

from memshield.network import TryAgainError

ResultT = TypeVar("ResultT")


class Clock(Protocol):
    """Time, given from outside so that no test has to wait."""

    def time(self) -> float:
        """Seconds since the epoch."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The system's clock."""

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class OutOfRetriesError(Exception):
    """The Hub did not answer within all attempts.

    Args:
        reason: in words.
        attempts: that were made.
        asked: seconds that the Hub asks to wait; None where it does not.
    """

    def __init__(self, reason: str, attempts: int, asked: float | None) -> None:
        self.reason = reason
        self.attempts = attempts
        self.asked = asked
        super().__init__(reason)


@dataclass(frozen=True)
class RetryPolicy:
    """How often to try, and how long to wait in between.

    Attributes:
        attempts: at most, of one step.
        first: seconds before the second attempt; doubled with every further one.
        most: seconds that a wait grows to.
        longest: seconds: where the Hub asks for more, it is not waited for.
        silence: seconds until no answer is one; None for the session's own.
    """

    attempts: int = 7
    first: float = 1.0
    most: float = 60.0
    longest: float = 900.0
    silence: float | None = None

    def keep_trying(
        self, call: Callable[[], ResultT], clock: Clock, told: Callable[[str], None]
    ) -> ResultT:
        """The result of a call that may be made again.

        Args:
            call: idempotent.
            clock: see `Clock`.
            told: is told of every wait.

        Raises:
            OutOfRetriesError: it did not succeed in time.
        """
        waits = self._waits()
        for attempt in count(1):
            try:
                return call()
            except TryAgainError as error:
                asked = _seconds(error.retry_after, clock)
                own = next(waits)
                wait = own if asked is None else max(asked, self.first)
                if attempt == self.attempts or wait > self.longest:
                    raise OutOfRetriesError(error.reason, attempt, asked) from None
                told(f"{error.reason}; trying again in {wait:.0f} s")
                clock.sleep(wait)
        raise AssertionError("unreachable")

    def _waits(self) -> Iterator[float]:
        wait = self.first
        while True:
            yield wait
            wait = min(2 * wait, self.most)


IMPATIENT = RetryPolicy(attempts=2, longest=3.0, silence=4.0)
"""For a visitor who waits at the page: ten seconds, then the Hub's own message."""


def _seconds(retry_after: str | None, clock: Clock) -> float | None:
    """RFC 9110, section 10.2.3: seconds, or a date; nothing where it is neither."""
    text = (retry_after or "").strip()
    if text.isdecimal():
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    # A date without a zone is one of Greenwich's, whatever this machine's is.
    when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    return max(0.0, when.timestamp() - clock.time())
