"""The running k nearest of a block of queries, while blocks of training rows pass by."""

from __future__ import annotations

import torch
from torch import Tensor

from memshield.audit.search.distances import PIECE, Block, Features, Space

_CELL = 100
"""Bytes a distance takes while it is looked through: compared, copied, listed, padded, sorted."""

_PAIR = 32
"""Bytes a column of a pair takes while it is measured."""


class Best:
    """The k nearest so far of every query, by (distance, index), exactly.

    A training row whose distance is at least the k-th best plus the error bound cannot enter.
    The others, few after the first blocks, are measured exactly and merged.

    Attributes:
        distance: [q, k] float64 ascending, inf where there is none yet.
        code: [q, k] twice the training index, plus one if mirrored; -2 where there is none.
    """

    def __init__(self, space: Space, queries: Block, k: int, memory: int) -> None:
        """Args:
        memory: bytes to work with.
        """
        self._space, self._queries, self._k, self._memory = space, queries, k, memory
        shape, device = (len(queries.rows), k), queries.rows.device
        self.distance = torch.full(shape, torch.inf, dtype=torch.float64, device=device)
        self.code = torch.full(shape, -2, dtype=torch.int64, device=device)

    def offer(self, training: Block, start: int, distances: Tensor, flipped: Tensor | None) -> None:
        """Take in a block; blocks come in the order of their rows.

        Args:
            training: [n, D] whose first row has the number `start`; of images, their crops.
            distances: [q, n] up to the slack of the space, inf where not allowed.
            flipped: [q, n] whether it is the mirrored picture that lies there, or None.
        """
        slack = self._space.slack(self._queries, training)
        step = max(1, self._memory // (_CELL * distances.shape[1]))
        for first in range(0, len(distances), step):
            rows = slice(first, first + step)
            i, j = self._candidates(distances[rows], self.distance[rows, -1], slack[rows])
            if len(i):
                i = i + first
                code = 2 * (start + j)
                if flipped is not None:
                    code += flipped[i, j]
                self._merge(i, self._exact(i, j, training, distances), code)

    def _candidates(self, distances: Tensor, worst: Tensor, slack: Tensor) -> tuple[Tensor, Tensor]:
        """Rows [p] and columns [p], in this order, of all that may be among the nearest."""
        # At equal distance the smaller index wins, which is the one that came before.
        limit = worst + slack
        counts = (distances < limit[:, None]).sum(dim=1)
        many = torch.nonzero(counts > 2 * self._k).squeeze(1)
        if len(many):
            # k rows of this block lie within its k-th smallest distance plus the slack.
            kth = distances[many].kthvalue(self._k, dim=1).values + 2 * slack[many]
            beyond = torch.nextafter(kth, torch.full_like(kth, torch.inf))
            limit[many] = torch.minimum(limit[many], beyond)
        i, j = torch.nonzero(distances < limit[:, None]).unbind(dim=1)
        return i, j

    def _exact(self, i: Tensor, j: Tensor, training: Block, distances: Tensor) -> Tensor:
        """[p] exact distances of pairs."""
        if not isinstance(self._space, Features):
            return distances[i, j]
        step = max(1, self._memory // (_PAIR * min(self._space.width, PIECE)))
        return torch.cat(
            [
                self._space.measure(self._queries.rows, some, training.rows, others)
                for some, others in zip(i.split(step), j.split(step), strict=True)
            ]
        )

    def _merge(self, i: Tensor, distance: Tensor, code: Tensor) -> None:
        """Take in pairs [p] in the order of rows and, in each, of training indices."""
        rows, which, counts = torch.unique_consecutive(i, return_inverse=True, return_counts=True)
        column = torch.arange(len(i), device=i.device) - (counts.cumsum(0) - counts)[which]
        shape = (len(rows), self._k + int(counts.max()))
        distances = torch.full(shape, torch.inf, dtype=torch.float64, device=i.device)
        codes = torch.full(shape, -2, dtype=torch.int64, device=i.device)
        distances[:, : self._k], codes[:, : self._k] = self.distance[rows], self.code[rows]
        distances[which, self._k + column], codes[which, self._k + column] = distance, code
        # Stable: equal distances stay in the order of their indices.
        distances, order = distances.sort(dim=1, stable=True)
        self.distance[rows] = distances[:, : self._k]
        self.code[rows] = codes.gather(1, order[:, : self._k])
