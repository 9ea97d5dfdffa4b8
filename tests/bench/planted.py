"""Copies of training pictures, planted among fresh ones: how many are named, with their source.

python -m tests.bench.planted
Aims: all 97 of 1,000 named with their sources (37 exact, 20 mirrored, 20 noised, 20 JPEG), no
more fresh ones named than chance allows, and no more of one half of the held-out pictures beyond
a threshold from the other half: p-values above 0.01.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from memshield.audit.search.neighbours import Neighbours, nearest
from memshield.audit.stats.calibration import Calibration, Excess, calibrate, excess_over
from memshield.audit.stats.intervals import share_of
from memshield.audit.stats.memorization import distance_ratio
from tests.audit.pictures import KINDS, Pictures, Planted, plant, smooth_fields
from tests.bench.common import arguments, report

TRAINING, HELD_OUT, GENERATED = 50_000, 500, 1_000


@dataclass(frozen=True)
class Outcome:
    """What the audit says of planted copies.

    Attributes:
        planted: the pictures, and which are copies of which.
        named: [N] beyond the threshold from the held-out pictures.
        neighbours: of every picture.
        by_chance: the fresh pictures that are beyond, against what chance gives.
        halves: a threshold from one half of the held-out pictures, and the other half beyond it.
    """

    planted: Planted
    named: npt.NDArray[np.bool_]
    neighbours: Neighbours
    by_chance: Excess
    halves: tuple[Calibration, Calibration]

    def fresh_named(self) -> int:
        """Pictures that are named and no copies."""
        return int(self.named[self.planted.source < 0].sum())

    def named_with_source(self, kind: str) -> int:
        """Copies of this kind that are named, with their source and the right way round."""
        right = self.named & (self.neighbours.index[:, 0] == self.planted.source)
        right &= self.neighbours.mirrored == (kind == "mirrored")
        return int(right[self.planted.kind == kind].sum())


def look_for_copies(
    training: int, held_out: int, generated: int, seed: int, device: str = "cpu"
) -> Outcome:
    """Plant copies among fresh pictures, and look for them as an audit does.

    Args:
        training, held_out, generated: pictures, all of them from the same source.
        seed: of everything drawn.
        device: to search on.
    """
    rng = np.random.default_rng(seed)
    pictures, kept_back = smooth_fields(training, rng), smooth_fields(held_out, rng)
    planted = plant(pictures, generated, rng)

    def search(queries: Pictures) -> Neighbours:
        return nearest(queries, pictures, mirrored=True, device=device)

    control, found = distance_ratio(search(kept_back).distance), search(planted.pictures)
    ratio = distance_ratio(found.distance)
    threshold = calibrate(control, ratio, "low").threshold
    assert threshold is not None
    named = threshold.beyond(ratio)
    by_chance = excess_over(threshold, share_of(named[planted.source < 0]))
    half = held_out // 2
    first, second = control[:half], control[half:]
    halves = calibrate(first, second, "low"), calibrate(second, first, "low")
    return Outcome(planted, named, found, by_chance, halves)


def main() -> None:
    """Measure and report."""
    options = arguments(__doc__ or "")
    begun = time.perf_counter()
    found = look_for_copies(TRAINING, HELD_OUT, GENERATED, 0, options.device)
    halves = [half.excess.p_value for half in found.halves if half.excess is not None]
    report(
        f"planted_{options.device}",
        options,
        {"training": TRAINING, "held_out": HELD_OUT, "generated": GENERATED, "planted": KINDS},
        named_with_source={kind: found.named_with_source(kind) for kind in KINDS},
        fresh_named=found.fresh_named(),
        fresh_named_by_chance=found.by_chance.chance_count,
        fresh_p_value=found.by_chance.p_value,
        halves_p_value=halves,
        seconds=time.perf_counter() - begun,
    )


if __name__ == "__main__":
    main()
