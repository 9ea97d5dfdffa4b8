"""Measures of memorization from distances to the nearest training pictures.

Distances are those of `neighbours.nearest`: squared L2, ascending, [Q, k].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from memshield.audit.stats.intervals import (
    Floats,
    Interval,
    Share,
    clopper_pearson,
    numbers,
    share_of,
)

NEAREST = 50
"""Neighbours in the mean of the distance ratio."""

ALPHAS = tuple(i / 100 for i in range(101))
COPY = 1 / 3
"""Gu et al.: memorized below."""

SIMILAR = 0.5
"""Somepalli et al.: replicated above."""


def distance_ratio(distance: npt.ArrayLike, *, squared: bool = True, over: int = NEAREST) -> Floats:
    """r = d(x, NN_1) / mean of d(x, NN_j) over the nearest `over`, the first among them.

    With squared distances as Liu et al. take it, arXiv 2407.15328; with plain ones as Carlini et
    al., "Extracting Training Data from Diffusion Models", arXiv 2301.13188.

    Args:
        distance: [Q, k], k >= over unless the training set has fewer: missing ones (inf) are left
            out of the mean.
        squared: of squared distances rather than plain ones.
        over: neighbours in the mean.

    Returns:
        [Q] from 0 to 1; 0 for an exact copy, even if all its neighbours are exact copies.

    Raises:
        ValueError: NaN, distances that do not ascend, or a picture without any neighbour.
    """
    nearest = _ascending(distance, 1)[:, :over]
    nearest = nearest if squared else np.sqrt(nearest)
    there = np.isfinite(nearest)
    mean = np.where(there, nearest, 0.0).sum(axis=1) / there.sum(axis=1)
    return _quotient(nearest[:, 0], mean)


def second_ratio(distance: npt.ArrayLike) -> Floats:
    """d(x, NN_1) / d(x, NN_2) in plain distances, [Q] from 0 to 1; 0 for an exact copy.

    Gu et al., "On Memorization in Diffusion Models", arXiv 2310.02664, call a picture memorized
    below 1/3 (`COPY`), a criterion that they take from Yoon et al., 2023.

    Args:
        distance: [Q, k], k >= 2; the second neighbour must lie outside the first one's duplicate
            group, or a picture that exists twice, the kind most often memorized, has 1.

    Raises:
        ValueError: NaN, distances that do not ascend, or a picture without a second neighbour.
    """
    nearest = _ascending(distance, 2)
    return _quotient(np.sqrt(nearest[:, 0]), np.sqrt(nearest[:, 1]))


@dataclass(frozen=True)
class MemorizedQuantity:
    """MQ(alpha) for a grid of alpha.

    Attributes:
        total: pictures.
        alpha: grid.
        count: pictures with a ratio below alpha.
        share: count / total.
        interval: of the share, Clopper-Pearson 95 %, each alpha by itself.
    """

    total: int
    alpha: tuple[float, ...]
    count: tuple[int, ...]
    share: tuple[float, ...]
    interval: tuple[Interval, ...]


def memorized_quantity(ratio: npt.ArrayLike, alphas: Sequence[float] = ALPHAS) -> MemorizedQuantity:
    """How many pictures have a distance ratio below alpha (Liu et al., arXiv 2407.15328).

    At a fixed alpha this says little without the same curve of held-out pictures.

    Args:
        ratio: [Q] of `distance_ratio`.
        alphas: grid.
    """
    values = np.sort(numbers("ratio", ratio))
    total = len(values)
    counts = [int(n) for n in np.searchsorted(values, alphas, side="left")]
    return MemorizedQuantity(
        total=total,
        alpha=tuple(float(alpha) for alpha in alphas),
        count=tuple(counts),
        share=tuple(count / total for count in counts),
        interval=tuple(clopper_pearson(count, total) for count in counts),
    )


def similarity(distance: npt.ArrayLike) -> Floats:
    """Dot products [Q] of unit features from their squared distances: a.b = 1 - |a - b|^2 / 2."""
    return 1.0 - numbers("distance", distance) / 2.0


@dataclass(frozen=True)
class Similarities:
    """How similar pictures are to the most similar training picture.

    Attributes:
        similar: share of generated pictures with a dot product above 0.5.
        percentiles: 75th, 90th and 95th of the generated pictures.
        background_similar, background_percentiles: the same of training pictures, each against the
            most similar other one; a model that copies nothing comes near it.
    """

    similar: Share
    percentiles: tuple[float, float, float]
    background_similar: Share
    background_percentiles: tuple[float, float, float]


def similarities(generated: npt.ArrayLike, background: npt.ArrayLike) -> Similarities:
    """Somepalli et al., "Diffusion Art or Digital Forgery?", arXiv 2212.03860.

    Args:
        generated: [Q] largest dot product of unit features with those of any training picture.
        background: [N] of training pictures, each outside its own duplicate group.
    """
    ours, theirs = numbers("generated", generated), numbers("background", background)
    return Similarities(
        share_of(ours > SIMILAR),
        _percentiles(ours),
        share_of(theirs > SIMILAR),
        _percentiles(theirs),
    )


def authenticity(distance: npt.ArrayLike, own: npt.ArrayLike) -> Share:
    """Share of pictures farther from their nearest training picture than it is from its own.

    Alaa et al., "How Faithful is your Synthetic Data?", arXiv 2102.08921. Low values speak
    of copies. Squared or plain distances, but the same in both.

    Args:
        distance: [Q] of every picture to its nearest training picture i*.
        own: [Q] of that i* to the nearest training picture outside its duplicate group.

    Raises:
        ValueError: NaN, or different lengths.
    """
    far, near = numbers("distance", distance), numbers("own", own)
    if len(far) != len(near):
        raise ValueError(f"distance and own: one each, are {len(far)} and {len(near)}")
    return share_of(far > near)


def _ascending(distance: npt.ArrayLike, least: int) -> Floats:
    values = numbers("distance", distance, 2)
    if values.shape[1] < least or not np.isfinite(values[:, :least]).all():
        raise ValueError(f"distance: every picture needs {least} neighbours")
    if (values < 0).any() or (values[:, 1:] < values[:, :-1]).any():
        raise ValueError("distance: must not be negative, and ascend in every row")
    return values


def _quotient(first: Floats, other: Floats) -> Floats:
    # 0 / 0, an exact copy of a picture that exists more than once, is 0 too.
    return np.divide(first, other, out=np.zeros_like(first), where=first > 0)


def _percentiles(values: Floats) -> tuple[float, float, float]:
    a, b, c = np.percentile(values, [75, 90, 95])
    return float(a), float(b), float(c)
