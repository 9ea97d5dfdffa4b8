"""The bar of a training, on the machine that trains and on one that follows it. No torch."""

from __future__ import annotations

import sys

from tqdm.auto import tqdm


class Bar:
    """The bar.

    Args:
        total: steps of the whole run.
        done: steps taken before this attempt.
        rounds, shards: of the run.
    """

    def __init__(self, total: int, done: int, rounds: int, shards: int) -> None:
        self._total = total
        self._rounds = rounds
        self._shards = shards
        # A log file gets a line now and then, a terminal a moving bar.
        every = 0.2 if sys.stderr.isatty() else 10.0
        self._bar = tqdm(
            total=total, initial=done, unit="step", dynamic_ncols=True, mininterval=every
        )

    def move(self, step: int) -> None:
        """Show so many steps as taken."""
        self._bar.update(max(0, step - self._bar.n))

    def describe(self, round: int, shard: int, loss: float, kept: float) -> None:
        """Show where the training is, with its newest figures."""
        self._bar.set_description(
            f"round {round}/{self._rounds} shard {shard}/{self._shards}", False
        )
        self._bar.set_postfix({"loss": f"{loss:.4f}", "kept": f"{kept:.0%}"}, False)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()
