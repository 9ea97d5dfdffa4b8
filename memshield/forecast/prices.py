"""What an hour of a Hub hardware costs, as the Hub itself says."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from memshield.errors import UserError
from memshield.network import NO_ANSWER

_HOURS = {"minute": 1 / 60, "hour": 1.0, "second": 1 / 3600}


def all_prices() -> dict[str, float]:
    """US dollars an hour of every Spaces and Jobs hardware, such as a10g-small.

    Raises:
        UserError: the Hub cannot be asked.
    """
    prices: dict[str, float] = {}
    try:
        # Public lists: no token is sent.
        for listed in (HfApi().list_spaces_hardware, HfApi().list_jobs_hardware):
            for one in listed(token=False):
                prices.setdefault(one.name, one.unit_cost_usd / _HOURS[one.unit_label])
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
    return prices


def dollars_an_hour(name: str) -> float:
    """The price of a Spaces or Jobs hardware, such as a10g-small.

    Raises:
        UserError: there is no such hardware, or the Hub cannot be asked.
    """
    prices = all_prices()
    if name not in prices:
        raise UserError("--hardware", f"the Hub has no {name!r}", f"One of: {', '.join(prices)}.")
    return prices[name]


class RememberedPrices:
    """Prices for a page that asks often: the Hub is asked once in a while, also after a failure.

    Args:
        seconds: for which an answer is good.
    """

    def __init__(self, seconds: float = 3600) -> None:
        self._seconds = seconds
        self._answer: tuple[float, Mapping[str, float]] | None = None

    def get(self) -> Mapping[str, float]:
        """US dollars an hour by hardware; nothing where the Hub does not say."""
        now = time.monotonic()
        if self._answer is None or now - self._answer[0] > self._seconds:
            try:
                found = all_prices()
            except UserError:
                found = {}
            self._answer = now, MappingProxyType(found)
        return self._answer[1]
