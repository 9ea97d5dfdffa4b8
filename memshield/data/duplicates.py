"""Groups of exact and near duplicates, found by comparing thumbnails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

THUMBNAIL = 16
"""Side of the thumbnails in pixels: small enough to forgive re-encoding and rescaling."""

_BLOCK = 2048


def thumbnail(image: Image.Image) -> npt.NDArray[np.float32]:
    """A picture as a vector [3 * 16 * 16] of colours in [0, 1], aspect ratio squeezed."""
    small = image.convert("RGB").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32).ravel() / 255.0


def near_pairs(
    thumbnails: npt.NDArray[np.float32], distance: float
) -> Iterator[npt.NDArray[np.int64]]:
    """All pairs of thumbnails whose root-mean-square difference is at most `distance`.

    Exact: sorting by the first principal component leaves out only pairs that are farther
    apart (a projection never lengthens), and pairs that the rounded matrix products let
    through are measured again on the differences.

    Args:
        thumbnails: [N, D] in [0, 1].
        distance: root mean square over the D values.

    Yields:
        [P, 2] row numbers, a block of rows at a time: memory does not grow with the pairs.
    """
    count, width = thumbnails.shape
    reach = distance * np.sqrt(width)
    centred = thumbnails - thumbnails.mean(axis=0)
    projection = centred @ _first_component(centred)
    order = np.argsort(projection, kind="stable")
    centred, projection = centred[order], projection[order]
    squares = np.einsum("nd,nd->n", centred, centred)
    # Products of float32 err by about 1e-6 of the squares: let a margin through, then measure.
    slack = 1e-5 * float(squares.max(initial=1.0))
    for start in range(0, count, _BLOCK):
        end = min(start + _BLOCK, count)
        last = int(np.searchsorted(projection, projection[end - 1] + reach * 1.001, side="right"))
        for other in range(start, last, _BLOCK):
            stop = min(other + _BLOCK, last)
            product = centred[start:end] @ centred[other:stop].T
            gap = squares[start:end, None] + squares[None, other:stop] - 2 * product
            i, j = np.nonzero(gap <= reach * reach + slack)
            i, j = i + start, j + other
            i, j = i[i < j], j[i < j]
            near = np.zeros(len(i), np.bool_)
            for part in range(0, len(i), _BLOCK):
                within = slice(part, part + _BLOCK)
                difference = centred[i[within]] - centred[j[within]]
                squared = np.einsum("pd,pd->p", difference, difference)
                near[within] = squared <= reach * reach * (1 + 1e-6)
            yield np.stack([order[i[near]], order[j[near]]], axis=1)


def _first_component(centred: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Roughly the direction of largest variance; any unit vector would do, this one cuts most."""
    vector = np.ones(centred.shape[1], np.float32)
    for _ in range(10):
        vector = centred.T @ (centred @ vector)
        norm = float(np.linalg.norm(vector))
        if norm == 0.0:
            return np.full(centred.shape[1], centred.shape[1] ** -0.5, np.float32)
        vector /= norm
    return vector


def mirror(thumbnails: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The thumbnails [N, 3 * 16 * 16] of the pictures mirrored left to right."""
    pixels = thumbnails.reshape(-1, THUMBNAIL, THUMBNAIL, 3)
    return pixels[:, :, ::-1].reshape(thumbnails.shape)


def groups(
    hashes: Sequence[str],
    thumbnails: npt.NDArray[np.float32],
    distance: float,
    mirrored: bool,
) -> npt.NDArray[np.int64]:
    """The group number of every picture: connected by equal hashes or by nearness.

    Memory is bounded by the block size, however many pairs there are.

    Args:
        hashes: of the decoded pictures, one each.
        thumbnails: [N, D], see `thumbnail`.
        distance: see `near_pairs`; 0 groups equal thumbnails and equal hashes only.
        mirrored: whether a picture also counts as a duplicate of one that it is the mirror image
            of: where pictures are mirrored at random, the model learns both from either.

    Returns:
        [N] numbered from 0 in the order of their first picture.
    """
    _, same = np.unique(np.asarray(hashes), return_inverse=True)
    seen = np.concatenate([thumbnails, mirror(thumbnails)]) if mirrored else thumbnails
    near = (pairs % len(thumbnails) for pairs in near_pairs(seen, distance))
    component = _connected(same.astype(np.int64), near)
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def _connected(
    component: npt.NDArray[np.int64], blocks: Iterable[npt.NDArray[np.int64]]
) -> npt.NDArray[np.int64]:
    """Join the components [N] of the pictures that the pairs [P, 2] of each block connect."""
    from scipy.sparse import coo_array  # a fifth of a second, which the page's start need not wait
    from scipy.sparse.csgraph import connected_components

    count = len(component)
    for pairs in blocks:
        ends = component[pairs]
        links = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))
        component = connected_components(links, directed=False)[1].astype(np.int64)[component]
    return component
