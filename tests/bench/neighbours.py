"""The search for nearest training pictures against the method's authors' way of doing it.

python -m tests.bench.neighbours [--whole]
Aims: at least 100 times faster a query on a CPU, with the same neighbours and distance ratios
equal to 1e-5; with --whole instead, 65,536 queries among 50,000 in 20 minutes and 4 GiB.

The authors' way, written anew: float pictures, differences of a query with a block of the
training set by broadcasting, and the 50 smallest sums of squares of each row by sorting them in
Python. A quarter of the queries are noised copies of training pictures.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time

import numpy as np
import numpy.typing as npt
import torch

from memshield.audit.search.neighbours import nearest
from memshield.audit.stats.memorization import NEAREST, distance_ratio
from tests.audit.pictures import Pictures, copy, smooth_fields
from tests.bench.common import report

TRAINING, QUERIES, SLOW_QUERIES, WHOLE = 50_000, 1_024, 16, 65_536
_BLOCK = 1_000
_REPEATS = 3


def pictures(count: int, rng: np.random.Generator) -> Pictures:
    """Pictures [count, 3, 32, 32], made a few at a time: this process's peak is measured."""
    made = np.empty((count, 3, 32, 32), np.uint8)
    for start in range(0, count, _BLOCK):
        made[start : start + _BLOCK] = smooth_fields(min(_BLOCK, count - start), rng)
    return made


def queries_near(training: Pictures, count: int, rng: np.random.Generator) -> Pictures:
    """Fresh pictures, every fourth of them a noised copy."""
    made = pictures(count, rng)
    for place in range(0, count, 4):
        made[place] = copy(training[rng.integers(len(training))], "noised", rng)
    return made


def plain_search(
    queries: Pictures, training: Pictures
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Index and squared distance, [Q, 50], of the nearest training pictures."""
    ours = torch.from_numpy(queries).float() / 255
    theirs = torch.from_numpy(training).float() / 255
    blocks = [
        (ours[:, None] - theirs[None, start : start + _BLOCK]).square().sum(dim=(2, 3, 4))
        for start in range(0, len(theirs), _BLOCK)
    ]
    rows = [
        sorted((distance, i) for i, distance in enumerate(row))[:NEAREST]
        for row in torch.cat(blocks, dim=1).tolist()
    ]
    return (
        np.asarray([[i for _, i in row] for row in rows]),
        np.asarray([[distance for distance, _ in row] for row in rows]),
    )


def compare(options: argparse.Namespace) -> None:
    """Time both, the slow one on some of the queries."""
    rng = np.random.default_rng(0)
    training = pictures(TRAINING, rng)
    queries = queries_near(training, QUERIES, rng)
    nearest(queries[:SLOW_QUERIES], training, NEAREST, device=options.device)
    times = []
    for _ in range(_REPEATS):
        begun = time.perf_counter()
        found = nearest(queries, training, NEAREST, device=options.device)
        times.append(time.perf_counter() - begun)
    begun = time.perf_counter()
    index, distance = plain_search(queries[:SLOW_QUERIES], training)
    plain = (time.perf_counter() - begun) / SLOW_QUERIES
    ours = statistics.median(times) / QUERIES
    expected = distance_ratio(distance)
    difference = np.abs(distance_ratio(found.distance[:SLOW_QUERIES]) - expected) / expected
    report(
        f"neighbours_{options.device}",
        options,
        {"training": TRAINING, "queries": {"plain": SLOW_QUERIES, "ours": QUERIES}},
        seconds_a_query={"plain": plain, "ours": ours},
        speed_up=plain / ours,
        same_neighbours=bool((found.index[:SLOW_QUERIES] == index).all()),
        largest_relative_difference_of_ratios=float(difference.max()),
    )


def search_whole(options: argparse.Namespace) -> None:
    """As many queries as the paper generates, among CIFAR-10's training pictures."""
    rng = np.random.default_rng(0)
    training = pictures(TRAINING, rng)
    queries = queries_near(training, WHOLE, rng)
    before = _peak_bytes()
    begun = time.perf_counter()
    nearest(queries, training, NEAREST, device=options.device)
    seconds = time.perf_counter() - begun
    report(
        f"neighbours_whole_{options.device}",
        options,
        {"training": TRAINING, "queries": WHOLE},
        seconds=seconds,
        peak_bytes_before=before,
        peak_bytes=_peak_bytes(),
    )


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--save", action="store_true", help="write tests/bench/results/NAME.json")
    parser.add_argument("--whole", action="store_true", help="65,536 queries")
    options = parser.parse_args()
    (search_whole if options.whole else compare)(options)


if __name__ == "__main__":
    main()
