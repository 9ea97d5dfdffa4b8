"""Axes: the places of values in percent, and the ticks."""

from __future__ import annotations

import math
from dataclasses import dataclass

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high`, which differ.

    Attributes:
        log: whether it is logarithmic; then both ends are above 0.
        whole: whether only whole numbers are ticks.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def place(self, value: float) -> float:
        """The place of a value, 0 to 100; values beyond an end are placed at it."""
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return round(100 * (value - low) / (high - low), 2)

    def ticks(self, most: int = 5) -> list[float]:
        """Choose about `most` round values to label."""
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
    """The smallest step of 1, 2, 2.5 or 5 times a power of ten that is at least `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in _STEPS if step * power >= rough * (1 - 1e-9))


def scale_of(
    values: list[float], *, zero: bool = False, log: bool = False, whole: bool = False
) -> Scale:
    """Make an axis that holds all values, with a margin.

    Args:
        values: at least one.
        zero: include 0.
        log: make it logarithmic, if all values are above 0 and span a factor of 20.
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
