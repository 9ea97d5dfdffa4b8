"""How like real pictures generated ones are, from features of both."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from memshield.audit.search.distances import Rows
from memshield.audit.search.neighbours import MEMORY, nearest
from memshield.audit.stats.intervals import CONFIDENCE, Floats, Interval, Share, share_of

Bools = npt.NDArray[np.bool_]

_LARGEST_BLOCK = 2048


@dataclass(frozen=True)
class KernelDistance:
    """The kernel inception distance, an estimate without bias: below 0 where there is no distance.

    Attributes:
        value: squared maximum mean discrepancy.
        error: standard error, by the jackknife.
        interval: value -+ 1.96 errors, about 95 %.
        real, generated: pictures.
    """

    value: float
    error: float
    interval: Interval
    real: int
    generated: int


@dataclass(frozen=True)
class FrechetDistance:
    """The Frechet distance of two Gaussians.

    Attributes:
        value: squared, as is usual for the FID. Too large by a bias that shrinks as pictures are
            added: compare only values of equal counts.
        real, generated: pictures.
        features: D.
        note: what to keep in mind, or None.
    """

    value: float
    real: int
    generated: int
    features: int
    note: str | None


@dataclass(frozen=True)
class PrecisionRecall:
    """Improved precision and recall.

    Attributes:
        precision: share of generated pictures in the manifold of real ones.
        recall: share of real pictures in the manifold of generated ones.
        k: neighbour whose distance is the radius. The intervals take the manifolds as given.
    """

    precision: Share
    recall: Share
    k: int


def kernel_distance(real: Rows, generated: Rows, memory: int = MEMORY) -> KernelDistance:
    """KID with k(x, y) = (x.y / D + 1)^3, over all pairs.

    Binkowski et al., "Demystifying MMD GANs", arXiv 1801.01401; the estimate is equation 3 of
    Gretton et al., JMLR 13 (2012). The jackknife leaves out one picture at a time (Arvesen, Annals
    of Mathematical Statistics 40 (1969), 2076-2100): it needs the sums of the kernel matrices'
    rows only, and errs on the large side.

    Args:
        real: [N, D] float, N >= 3.
        generated: [M, D] float, M >= 3.
        memory: bytes to work with.

    Raises:
        ValueError: shapes do not fit, too few rows, or values that are not finite.
    """
    from scipy.stats import norm  # half a second, which most commands need not wait

    _check(real, generated, 3)
    n, m = real.shape[0], generated.shape[0]
    real_sums, generated_sums = _sums_within(real, memory), _sums_within(generated, memory)
    real_cross, generated_cross = _sums_across(real, generated, memory)
    inside, outside, cross = real_sums.sum(), generated_sums.sum(), real_cross.sum()
    value = float(_mmd(inside, n, outside, m, cross))
    # A picture that is left out takes its row and its column along.
    fewer_real = _mmd(inside - 2 * real_sums, n - 1, outside, m, cross - real_cross)
    fewer_generated = _mmd(inside, n, outside - 2 * generated_sums, m - 1, cross - generated_cross)
    error = math.sqrt((n - 1) * fewer_real.var() + (m - 1) * fewer_generated.var())
    half = float(norm.ppf((1 + CONFIDENCE) / 2)) * error
    return KernelDistance(value, error, (value - half, value + half), n, m)


def frechet_distance(real: Rows, generated: Rows, memory: int = MEMORY) -> FrechetDistance:
    """|m_1 - m_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2)): equation 6 of Heusel et al., 1706.08500.

    The trace of (C_1 C_2)^(1/2) is the sum of the singular values of S_1 S_2, where S_i is the
    symmetric root of C_i. No root of a matrix that is not symmetric is taken, nothing turns
    complex, and directions without variance cost no precision.

    Args:
        real: [N, D] float, N >= 2.
        generated: [M, D] float, M >= 2.
        memory: bytes for blocks of rows; four D x D matrices come on top.

    Raises:
        ValueError: shapes do not fit, too few rows, or values that are not finite.
    """
    _check(real, generated, 2)
    mean_real, covariance_real = _moments(real, memory)
    mean_generated, covariance_generated = _moments(generated, memory)
    roots = _symmetric_root(covariance_real) @ _symmetric_root(covariance_generated)
    overlap = float(np.linalg.svd(roots, compute_uv=False).sum())
    spread = float(np.trace(covariance_real) + np.trace(covariance_generated))
    shift = float(np.square(mean_real - mean_generated).sum())
    width, least = real.shape[1], min(real.shape[0], generated.shape[0])
    note = None
    if least <= width:
        note = (
            f"{least} pictures in {width} dimensions: covariances are singular "
            "and the distance is far too large"
        )
    # Equal sets give 0 up to rounding.
    value = max(0.0, shift + spread - 2 * overlap)
    return FrechetDistance(value, real.shape[0], generated.shape[0], width, note)


def precision_recall(
    real: Rows, generated: Rows, k: int = 3, memory: int = MEMORY
) -> PrecisionRecall:
    """Kynkaanniemi et al., arXiv 1904.06991, equations 1 and 2.

    Both depend on the counts: compare only values of equal N and M.

    Args:
        real: [N, D] float32, N > k.
        generated: [M, D] float32, M > k.
        k: neighbour whose distance is the radius around a picture, itself not counted.
        memory: bytes to work with.

    Raises:
        ValueError: shapes do not fit, too few rows, or values that are not finite.
    """
    _check(real, generated, k + 1)
    return PrecisionRecall(
        precision=share_of(_covered(generated, real, k, memory)),
        recall=share_of(_covered(real, generated, k, memory)),
        k=k,
    )


def _covered(queries: Rows, centres: Rows, k: int, memory: int) -> Bools:
    """[Q] whether a query is as near to any centre as that one's k-th neighbour, or nearer."""
    each = np.arange(centres.shape[0])
    radius = nearest(centres, centres, k, groups=each, exclude=each, memory=memory).distance[:, -1]
    covered = np.zeros(queries.shape[0], np.bool_)
    for rows, a in _blocks(queries, memory):
        squares = np.square(a).sum(axis=1)[:, None]
        for columns, b in _blocks(centres, memory):
            norms = squares + np.square(b).sum(axis=1)
            # Rounding must not shut out what lies on the edge, such as copies.
            reach = radius[columns] + a.shape[1] * np.finfo(np.float64).eps * 4 * norms
            covered[rows] |= (norms - 2 * (a @ b.T) <= reach).any(axis=1)
    return covered


def _mmd(within: Any, n: int, beyond: Any, m: int, across: Any) -> Any:
    """Squared discrepancy without bias, from sums of the kernel without its diagonals."""
    return within / (n * (n - 1)) + beyond / (m * (m - 1)) - 2 * across / (n * m)


def _kernel(a: Floats, b: Floats) -> Floats:
    kernel: Floats = (a @ b.T / a.shape[1] + 1.0) ** 3
    return kernel


def _sums_within(rows: Rows, memory: int) -> Floats:
    """[N] sums over the kernel's rows, its diagonal left out."""
    sums = np.zeros(rows.shape[0])
    for some, a in _blocks(rows, memory):
        kernel = _kernel(a, a)
        np.fill_diagonal(kernel, 0.0)
        sums[some] += kernel.sum(axis=1)
        for others, b in _blocks(rows, memory, some.stop):
            kernel = _kernel(a, b)
            sums[some] += kernel.sum(axis=1)
            sums[others] += kernel.sum(axis=0)
    return sums


def _sums_across(real: Rows, generated: Rows, memory: int) -> tuple[Floats, Floats]:
    """[N] and [M] sums over rows and columns of the kernel between two sets."""
    first, second = np.zeros(real.shape[0]), np.zeros(generated.shape[0])
    for rows, a in _blocks(real, memory):
        for columns, b in _blocks(generated, memory):
            kernel = _kernel(a, b)
            first[rows] += kernel.sum(axis=1)
            second[columns] += kernel.sum(axis=0)
    return first, second


def _moments(rows: Rows, memory: int) -> tuple[Floats, Floats]:
    """Mean [D] and covariance [D, D], divided by N - 1."""
    count, width = rows.shape
    mean = np.zeros(width)
    for _, block in _blocks(rows, memory):
        mean += block.sum(axis=0)
    mean /= count
    covariance = np.zeros((width, width))
    for _, block in _blocks(rows, memory):
        block -= mean
        covariance += block.T @ block
    return mean, covariance / (count - 1)


def _symmetric_root(matrix: Floats) -> Floats:
    values, vectors = np.linalg.eigh(matrix)
    # Zero variance comes out of rounding as a small number of either sign, whose root is not small.
    rounding = len(values) * np.finfo(np.float64).eps * values.max(initial=0.0)
    root: Floats = (vectors * np.sqrt(np.where(values > rounding, values, 0.0))) @ vectors.T
    return root


def _blocks(rows: Rows, memory: int, start: int = 0) -> Iterator[tuple[slice, Floats]]:
    """Rows as float64, so many at a time that two blocks and three products of them fit."""
    width = rows.shape[1]
    root = math.isqrt(64 * width * width + 24 * memory)
    step = min(_LARGEST_BLOCK, max(1, (root - 8 * width) // 24))
    while start < rows.shape[0]:
        some = slice(start, min(start + step, rows.shape[0]))
        yield some, np.array(rows[some], dtype=np.float64)
        start = some.stop


def _check(real: Rows, generated: Rows, least: int) -> None:
    if len(real.shape) != 2 or real.shape[1:] != generated.shape[1:] or real.shape[1] == 0:
        raise ValueError(
            f"real {list(real.shape)} and generated {list(generated.shape)}: must be [N, D], [M, D]"
        )
    for name, rows in (("real", real), ("generated", generated)):
        if rows.shape[0] < least:
            raise ValueError(f"{name}: needs at least {least} pictures, has {rows.shape[0]}")
        for some, block in _blocks(rows, MEMORY):
            if not np.isfinite(block).all():
                bad = some.start + int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])
                raise ValueError(f"{name}: row {bad} has values that are not finite")
