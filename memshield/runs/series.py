"""A time series of bounded length, for charts of long trainings."""

from __future__ import annotations

from typing import NamedTuple


class Dot(NamedTuple):
    """A value after a step."""

    step: int
    value: float


class Series:
    """At most `most` points, each the mean of as many values in a row.

    What it holds depends on the values alone, not on when it was asked.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._stride = 1
        self._parts: list[tuple[int, float, int]] = []  # last step, sum, values

    def add(self, step: int, value: float) -> None:
        """Append a value."""
        if self._parts and self._parts[-1][2] < self._stride:
            _, total, number = self._parts[-1]
            self._parts[-1] = (step, total + value, number + 1)
        else:
            self._parts.append((step, value, 1))
        if len(self._parts) > self._most:
            self._halve()

    def cut(self, step: int) -> None:
        """Drop points at `step` or beyond it: those steps are repeated."""
        while self._parts and self._parts[-1][0] >= step:
            self._parts.pop()

    def dots(self) -> tuple[Dot, ...]:
        """The points, in order."""
        return tuple(Dot(step, total / number) for step, total, number in self._parts)

    def _halve(self) -> None:
        pairs = [self._parts[i : i + 2] for i in range(0, len(self._parts), 2)]
        self._parts = [
            (pair[-1][0], sum(one[1] for one in pair), sum(one[2] for one in pair))
            for pair in pairs
        ]
        self._stride *= 2
