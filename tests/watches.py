"""Watches of the held-out loss made up for tests of what shows them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from memshield.audit.watch_record import WatchCheck, WatchRecord

BOUNDS = (0.01, 0.3423, 0.7236, 1.2402, 2.0411, 3.443, 6.1735, 12.0248, 25.736, 60.8223, 157.4073)
"""Those of 10 bands of a linear schedule of 1000 steps."""


def watch_of_losses(
    losses: Sequence[Sequence[float]],
    stopped: Sequence[int | None] = (),
    stops: bool = True,
    every: int = 10,
) -> WatchRecord:
    """A record of these losses.

    Args:
        losses: [checks][bands].
        stopped: step of each band.
        stops: see `WatchRecord`.
        every: steps from check to check.
    """
    bands = len(losses[0])
    return WatchRecord(
        pictures=40,
        draws=64,
        bounds=BOUNDS[: bands + 1],
        stops=stops,
        checks=tuple(
            WatchCheck(step=every * place, losses=tuple(row)) for place, row in enumerate(losses)
        ),
        stopped=tuple(stopped) or (None,) * bands,
    )


def made_watch(stops: bool = True, steps: int = 660, checks: int = 33) -> WatchRecord:
    """Ten bands of a training from scratch: at low noise the loss turns upwards first."""
    every = steps // (checks - 1)
    turns = [0.25, 0.3, 0.4, 0.55, 0.8, *[2.0] * 5]
    rows = []
    for place in range(checks):
        t = place / (checks - 1)
        rows.append(
            [
                0.7 * 0.55**band * (0.45 + math.exp(-14 * t) + 0.1 * math.exp(-3 * t))
                * (1 + 0.7 * max(0.0, t - turn) + 0.002 * math.sin(1.7 * place + band))
                for band, turn in enumerate(turns)
            ]
        )  # fmt: skip
    if not stops:
        return watch_of_losses(rows, stops=False, every=every)
    stopped: list[int | None] = [None] * 10
    for band, turn in enumerate(turns):
        end = round((turn + 0.17) * (checks - 1))
        if end < checks:
            stopped[band] = end * every
            for place in range(end, checks):
                rows[place][band] = rows[end][band] * (1 - 0.01 * (1 - math.exp(end - place)))
    return watch_of_losses(rows, stopped, every=every)
