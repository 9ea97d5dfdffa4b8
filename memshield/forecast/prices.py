"""Prices of the Hub's hardware, as the Hub states them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from memshield.errors import UserError
from memshield.network import NO_ANSWER

_AGAIN_SECONDS = 60.0
"""After no answer."""
_HOURS = {"minute": 1 / 60, "hour": 1.0, "second": 1 / 3600}


def all_prices() -> dict[str, float]:
    """US dollars an hour of every Spaces and Jobs hardware, such as a10g-small.

    Raises:
        UserError: the Hub cannot be asked.
    """
    return {**job_prices(), **_listed(HfApi().list_spaces_hardware)}


def job_prices() -> dict[str, float]:
    """US dollars an hour of every hardware that Jobs run on.

    Raises:
        UserError: the Hub cannot be asked.
    """
    return _listed(HfApi().list_jobs_hardware)


def _listed(hardware: Callable[..., Iterable[Any]]) -> dict[str, float]:
    try:
        # Public lists: no token is sent.
        return {
            one.name: one.unit_cost_usd / _HOURS[one.unit_label] for one in hardware(token=False)
        }
    except OfflineModeIsEnabled:
        raise UserError(
            "--hardware", "prices are the Hub's, and this is offline", "Leave it out."
        ) from None
    except (HfHubHTTPError, *NO_ANSWER) as error:
        raise UserError(
            "--hardware",
            f"the Hub cannot be asked for prices ({type(error).__name__})",
            "Leave it out, or check the network.",
        ) from None


def dollars_an_hour(name: str) -> float:
    """The price of a Spaces or Jobs hardware, such as a10g-small.

    Raises:
        UserError: there is no such hardware, or the Hub cannot be asked.
    """
    prices = all_prices()
    if name not in prices:
        raise UserError("--hardware", f"the Hub has no {name!r}", f"One of: {', '.join(prices)}.")
    return prices[name]


class HubPrices:
    """Prices for a page, which waits only briefly: a late answer is there the next time.

    Args:
        ask: gives the prices, however long it takes.
        seconds: for which an answer is good. After none, those known before stay.
        patience: seconds that somebody who looks at an estimate waits for prices.
    """

    def __init__(
        self,
        ask: Callable[[], Mapping[str, float]] = all_prices,
        seconds: float = 3600,
        patience: float = 2.0,
    ) -> None:
        self._ask = ask
        self._seconds = seconds
        self._patience = patience
        self._lock = threading.Lock()
        self._asking: threading.Thread | None = None
        self._known: Mapping[str, float] = MappingProxyType({})
        self._good_until = float("-inf")

    def get(self) -> Mapping[str, float]:
        """US dollars an hour by hardware; nothing where the Hub does not say it in time."""
        with self._lock:
            if self._is_fresh():
                return self._known
            if self._asking is None or not self._asking.is_alive():
                self._asking = threading.Thread(target=self._look, daemon=True)
                self._asking.start()
            asking = self._asking
        asking.join(self._patience)
        return self._known

    def _is_fresh(self) -> bool:
        return time.monotonic() <= self._good_until

    def _look(self) -> None:
        try:
            self._known = MappingProxyType(dict(self._ask()))
            seconds = self._seconds
        except (UserError, KeyError, TypeError, ValueError):  # also an answer of another form
            seconds = min(_AGAIN_SECONDS, self._seconds)
        self._good_until = time.monotonic() + seconds
