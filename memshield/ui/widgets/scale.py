"""Where values stand along an axis, in percent, and which of them are named."""

from __future__ import annotations

import math
from dataclasses import dataclass

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high`, which differ.

    Attributes:
        log: whether equal factors are equally far apart; both ends are above 0 then.
        whole: whether only whole numbers are named.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def place(self, value: float) -> float:
        """Where a value stands, 0 to 100; what is beyond an end stands at it."""
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return round(100 * (value - low) / (high - low), 2)

    def ticks(self, most: int = 5) -> list[float]:
        """Round values to name, `most` or a few more."""
        return self._log_ticks(most) if self.log else self._even_ticks(most)

    def _even_ticks(self, most: int) -> list[float]:
        step = nice_step((self.high - self.low) / most)
        if self.whole:
            step = max(1.0, math.ceil(step))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(i * step, 12) for i in range(first, last + 1)]

    def _log_ticks(self, most: int) -> list[float]:
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        few = self.high / self.low < 100
        found = [
            factor * 10.0**decade
            for decade in decades
            for factor in ((1, 2, 5) if few else (1,))
            if self.low <= factor * 10.0**decade * (1 + 1e-9)
            and factor * 10.0**decade <= self.high * (1 + 1e-9)
        ]
        return found[:: max(1, math.ceil(len(found) / (most + 2)))]


def nice_step(rough: float) -> float:
    """The next step of 1, 2, 2.5 or 5 times a power of ten that is not less."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in _STEPS if step * power >= rough * (1 - 1e-9))


def scale_of(
    values: list[float], *, zero: bool = False, log: bool = False, whole: bool = False
) -> Scale:
    """An axis that holds all values, with room above, or with `zero` from 0 on.

    Args:
        values: at least one.
        zero: 0 is part of it.
        log: equal factors are equally far apart, where all values are above 0 and span enough.
        whole: see `Scale`.
    """
    low, high = min(values), max(values)
    if log and low > 0 and high / low >= 20:
        return Scale(low / 1.15, high * 1.15, log=True)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high == low:
        room = abs(high) / 2 or 0.5
        return Scale(low - room * (low != 0 or not zero), high + room, whole=whole)
    room = 0.06 * (high - low)
    return Scale(low - room * (low != 0), high + room, whole=whole)
