"""Prices for a page that does not wait for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from memshield.forecast.prices import RememberedPrices

PATIENCE = 2.0
"""Seconds that somebody who looks at an estimate waits for prices."""


class AskedPrices:
    """The Hub's prices, if it says them at once; else they are there the next time.

    Args:
        ask: gives them, however long it takes, and remembers them.
        patience: seconds.
    """

    def __init__(
        self,
        ask: Callable[[], Mapping[str, float]] | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self._ask = ask or RememberedPrices().get
        self._patience = patience
        self._lock = threading.Lock()
        self._asking: threading.Thread | None = None
        self._known: Mapping[str, float] = {}

    def get(self) -> Mapping[str, float]:
        """US dollars an hour by hardware; nothing where the Hub does not say it in time."""
        with self._lock:
            if self._asking is None or not self._asking.is_alive():
                self._asking = threading.Thread(target=self._look, daemon=True)
                self._asking.start()
            asking = self._asking
        asking.join(self._patience)
        return self._known

    def _look(self) -> None:
        try:
            self._known = self._ask()
        except (KeyError, TypeError, ValueError):
            self._known = {}  # an answer in another form than the one that is known
