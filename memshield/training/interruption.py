"""SIGTERM and SIGINT: at once while preparing, after the step while training."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(BaseException):
    """The run was asked to stop, and everything worth keeping is on disk.

    Not an Exception: nothing between the loop and the entry point may swallow it.
    """

    def __init__(self, signal_number: int) -> None:
        self.signal_number = signal_number
        super().__init__(signal.Signals(signal_number).name)


class StopRequest:
    """Turns the signals into a request that the loop answers when it can save.

    Outside `deferred` the request ends the program where it is: there is nothing to save yet.
    While deferred, an interrupt (Ctrl-C) that follows another signal ends it at once as well;
    the last checkpoint is whole.

    Attributes:
        reason: of the stop, in words, where it is more than the signal.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._received: int | None = None
        self._signalled = False
        self._deferred = False
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # A launcher and its group may both pass SIGTERM on: only an interrupt, which a person
        # sends, counts as impatience.
        again = self._received is not None and number == signal.SIGINT
        self._received, self._signalled = number, True
        if not self._deferred or again:
            raise Stopped(number)

    def note(self) -> None:
        """Take note of a stop that another process was asked for."""
        if self._received is None:
            self._received = signal.SIGTERM

    @property
    def requested(self) -> bool:
        """Whether a stop was asked for."""
        return self._received is not None

    @property
    def is_urgent(self) -> bool:
        """Whether who asked may kill this process soon, as a launcher does.

        A time limit is kept in time for saving, and what another process was asked for may be that.
        """
        return self._signalled and self.reason is None

    def obey(self) -> None:
        """Stop now if that was asked for; called where everything is saved."""
        if self._received is not None:
            raise Stopped(self._received)

    def defer(self) -> None:
        """From here on signals are only noted."""
        self._deferred = True

    def heed(self) -> None:
        """From here on signals are answered again; one that came meanwhile, now."""
        self._deferred = False
        self.obey()

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Signals inside are only noted; after an error too, whose report they would cut short."""
        self.defer()
        yield
        self._deferred = False
