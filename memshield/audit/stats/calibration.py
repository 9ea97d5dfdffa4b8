"""What happens by chance: thresholds from held-out pictures, which no model was trained on.

A statistic of a generated picture (a distance ratio, a similarity) says little by itself: with few
training pictures, many fresh real pictures lie close to one. The same statistic of held-out
pictures shows how often that is so. No held-out picture may share a duplicate group with a training
picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from memshield.audit.stats.intervals import (
    CONFIDENCE,
    Interval,
    Share,
    difference,
    numbers,
    share_of,
    wilson,
)

Side = Literal["low", "high"]

LEVELS = ((300, 0.01), (60, 0.05))
"""Held-out pictures that are needed, and the share of them that a threshold then lets pass."""


@dataclass(frozen=True)
class Threshold:
    """An order statistic of m held-out values, chosen as conformal prediction does.

    The j-th smallest, j = floor(level (m + 1)): a new value from where the held-out ones are from
    lies below it with probability at most j / (m + 1) <= level, whatever their distribution
    (Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World, 2005). Over draws of the
    held-out pictures that share is a Beta(j, m + 1 - j) variable if values never tie (Wilks, Annals
    of Mathematical Statistics 12 (1941), 91-96); ties only make it smaller. So the threshold's
    own error is known, and is part of the intervals.

    Attributes:
        value: a picture is beyond if its statistic is below (`low`) or above (`high`) this.
        side: low or high.
        level: largest share of held-out pictures that is to pass.
        rank: j.
        controls: m.
        chance: j / (m + 1), the expected share of fresh pictures that pass.
        chance_interval: 95 % of that share over draws of the held-out pictures.
    """

    value: float
    side: Side
    level: float
    rank: int
    controls: int
    chance: float
    chance_interval: Interval

    def beyond(self, values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which of the values [N] are more extreme than the threshold."""
        array = numbers("values", values)
        return array < self.value if self.side == "low" else array > self.value


@dataclass(frozen=True)
class Excess:
    """More than chance?

    Attributes:
        excess: share of generated pictures beyond the threshold, less the share that chance gives.
        interval: of the excess, 95 %: square-and-add of the Wilson interval of the generated
            share and of the threshold's Beta interval, see `intervals.difference`.
        chance_count: as many generated pictures or fewer lie beyond in 95 % of cases by chance.
        p_value: probability that as many as were seen, or more, do so by chance; exact
            (beta-binomial), or too large where values tie.
    """

    excess: float
    interval: Interval
    chance_count: int
    p_value: float


@dataclass(frozen=True)
class Calibration:
    """A threshold and what lies beyond it; all None if too few pictures are held out.

    Attributes:
        threshold: from the held-out pictures.
        beyond: share of generated pictures beyond it.
        excess: that share compared with chance.
        reason: why there is no threshold or hardly anything can lie beyond it, else None.
    """

    threshold: Threshold | None
    beyond: Share | None
    excess: Excess | None
    reason: str | None


def threshold_of(control: npt.ArrayLike, side: Side, level: float) -> Threshold:
    """The threshold that at most a share `level` of pictures like the held-out ones pass.

    Args:
        control: [m] statistic of held-out pictures.
        side: which end is the suspicious one.
        level: share, at least 1 / (m + 1).

    Raises:
        ValueError: NaN, or too few values for the level.
    """
    from scipy.stats import beta  # half a second, which most commands need not wait

    values = np.sort(numbers("control", control))
    # The smallest step protects a product that should be whole, 0.01 * 300, from rounding down.
    rank = math.floor(level * (len(values) + 1) + 1e-9)
    if not 1 <= rank <= len(values):
        raise ValueError(f"level: {level} cannot be told from {len(values)} held-out values")
    value = values[rank - 1] if side == "low" else values[len(values) - rank]
    tail = (1 - CONFIDENCE) / 2
    low, high = beta.ppf([tail, 1 - tail], rank, len(values) + 1 - rank)
    return Threshold(
        value=float(value),
        side=side,
        level=level,
        rank=rank,
        controls=len(values),
        chance=rank / (len(values) + 1),
        chance_interval=(float(low), float(high)),
    )


def excess_over(threshold: Threshold, beyond: Share) -> Excess:
    """The share beyond a threshold against what chance gives."""
    from scipy.stats import betabinom

    of_generated = wilson(beyond.count, beyond.total)
    chance = betabinom(beyond.total, threshold.rank, threshold.controls + 1 - threshold.rank)
    return Excess(
        excess=beyond.share - threshold.chance,
        interval=difference(
            beyond.share, of_generated, threshold.chance, threshold.chance_interval
        ),
        chance_count=int(chance.ppf(CONFIDENCE)),
        # Added up from the end: one minus the rest would leave nothing of small probabilities.
        p_value=min(1.0, float(chance.pmf(np.arange(beyond.count, beyond.total + 1)).sum())),
    )


def calibrate(control: npt.ArrayLike, generated: npt.ArrayLike, side: Side) -> Calibration:
    """How many generated pictures are more extreme than held-out pictures hardly ever are.

    The level is 1 % from 300 held-out pictures up and 5 % from 60 up.

    Args:
        control: [m] statistic of held-out pictures against the training set.
        generated: [n] the same statistic of generated pictures.
        side: low for distance ratios, high for similarities.

    Raises:
        ValueError: NaN, or no generated pictures.
    """
    values = numbers("generated", generated)
    count = int(np.size(control))
    level = next((level for needed, level in LEVELS if count >= needed), None)
    if level is None:
        needed = LEVELS[-1][0]
        few = f"{count} held-out pictures are too few to say what happens by chance"
        return Calibration(None, None, None, f"{few}: {needed} are the least")
    threshold = threshold_of(control, side, level)
    beyond = share_of(threshold.beyond(values))
    reason = None
    if not threshold.beyond(control).any():
        reason = (
            f"the {threshold.rank} most extreme held-out values are equal: "
            "copies of training pictures may be among the held-out ones"
        )
    return Calibration(threshold, beyond, excess_over(threshold, beyond), reason)
