"""From a ceiling of cost to the time limit of a job."""

from __future__ import annotations

import math
from typing import NamedTuple

from memshield.errors import UserError
from memshield.jobs.remote.container import time_to_save
from memshield.quantities import duration

FREE_SECONDS = 6 * 3600
"""The time limit on hardware that costs nothing."""
_LONGEST = 7 * 86_400
SHORTEST_SECONDS = 15 * 60
"""The least time limit: on a plain image minutes go by before it trains, and saving takes some."""


class Ceiling(NamedTuple):
    """What a job may cost at most.

    Attributes:
        seconds: its time limit, after which the Hub ends it.
        dollars: that so much time costs.
    """

    seconds: int
    dollars: float

    @property
    def saves_after(self) -> float:
        """Seconds after which the training stops itself and saves."""
        return self.seconds - time_to_save(self.seconds)

    def in_words(self) -> str:
        """What happens when it is reached."""
        return (
            f"After {duration(self.saves_after, True)} the training saves a checkpoint and stops; "
            f"after {duration(self.seconds, True)} the Hub ends the job, which has then cost "
            f"${self.dollars:.2f}. Resume goes on from the checkpoint, under the same ceiling again"
        )


def ceiling_of(hardware: str, an_hour: float, dollars: float) -> Ceiling:
    """The time that a sum pays for.

    Args:
        hardware: the Hub's name.
        an_hour: its price in dollars.
        dollars: the sum.

    Raises:
        UserError: it pays for too little time to train and to save in.
    """
    if not an_hour:
        return Ceiling(FREE_SECONDS, 0.0)
    seconds = int(min(dollars / an_hour * 3600, _LONGEST))
    if seconds < SHORTEST_SECONDS:
        least, minutes = an_hour * SHORTEST_SECONDS / 3600, SHORTEST_SECONDS // 60
        raise UserError(
            "ceiling", f"${dollars:.2f} pays for less than {minutes} minutes of {hardware}",
            f"Fetching packages and saving take minutes too. {minutes} minutes cost "
            f"${math.ceil(least * 100) / 100:.2f}: raise the ceiling, or choose cheaper hardware.",
        )  # fmt: skip
    return Ceiling(seconds, seconds / 3600 * an_hour)
