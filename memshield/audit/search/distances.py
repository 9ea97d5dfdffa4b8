"""Squared L2 distances between blocks of rows from matrix products, with their error.

|a - b|^2 = |a|^2 + |b|^2 - 2 a.b is fast, but cancels for near duplicates. Two kinds of rows:

- `Pixels`: the products are integers that float32 holds without rounding. Nothing is lost.
- `Features`: the products are rounded. `slack` bounds by how much, `measure` measures pairs anew.

Columns are taken in pieces of at most 1,024, and the products of the pieces added up in float64.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

PIECE = 1024
"""Most columns in a product."""

_UNIT = 2.0**-24
"""Unit roundoff of float32."""


class Rows(Protocol):
    """Anything with a shape that can be sliced by rows: an array, a memmap, a tensor on the CPU."""

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, C, H, W] or [N, D]."""

    def __getitem__(self, rows: slice, /) -> Any:
        """Some rows, as something that numpy takes."""


class Block(NamedTuple):
    """Some rows on the device.

    Attributes:
        rows: [n, D] as they are stored, uint8 or float32.
        squares: [n] float64 squared norms, shifted and scaled as the space does.
    """

    rows: Tensor
    squares: Tensor


class Space(Protocol):
    """What rows are and how far they lie apart.

    Attributes:
        width: D.
        itemsize: bytes a stored value.
        unit: what a distance of one is in squared pixels ([0, 1]) or squared features.
        exact: whether `block_distances` are exact.
    """

    width: int
    itemsize: int
    unit: float
    exact: bool

    def load(self, rows: Any, device: torch.device) -> Tensor:
        """Stored rows [n, ...] as a tensor [n, D] on the device."""

    def to_float(self, rows: Tensor, columns: slice) -> Tensor:
        """Some columns of loaded rows as float32, shifted and scaled so that products are good."""

    def slack(self, queries: Block, training: Block) -> Tensor:
        """[q] bound of the error of `block_distances` in each row."""


class Pixels:
    """uint8 images, as integers around 128.

    Sums of up to 1,024 products of integers in [-128, 127] are at most 2^24 in size, and float32
    holds every integer up to 2^24. So the product of a piece is exact in whatever order it is
    added up, and so is the sum of the pieces in float64 (up to 2^53: more than 10^11 pixels).
    """

    itemsize = 1
    unit = 255.0**-2
    exact = True

    def __init__(self, width: int) -> None:
        self.width = width

    def load(self, rows: Any, device: torch.device) -> Tensor:
        """[n, C, H, W] uint8 as [n, D]."""
        flat = np.array(np.asarray(rows), dtype=np.uint8)
        return torch.from_numpy(flat.reshape(len(flat), self.width)).to(device)

    def to_float(self, rows: Tensor, columns: slice) -> Tensor:
        """Integers from -128 to 127 as float32."""
        return rows[:, columns].float().sub_(128.0)

    def slack(self, queries: Block, training: Block) -> Tensor:
        """[q] zeros."""
        return torch.zeros_like(queries.squares)


class Features:
    """float32 rows, shifted by the mean of the training set and scaled by a power of two.

    The shift makes norms small, and with them the error; the scale keeps squares away from
    overflow and underflow.
    """

    itemsize = 4
    exact = False

    def __init__(self, centre: npt.NDArray[np.float64], largest: float) -> None:
        """Args:
        centre: [D] any shift.
        largest: the largest absolute value in all rows.
        """
        self.width = len(centre)
        # The scale and its inverse must be normal numbers of float32.
        exponent = int(np.clip(np.frexp(largest)[1], -120, 126)) if largest > 0 else 0
        self._scale = 2.0**-exponent
        self._centre = torch.from_numpy((centre * self._scale).astype(np.float32))
        self.unit = self._scale**-2.0

    @classmethod
    def of(cls, queries: Rows, training: Rows, step: int) -> Features:
        """Look through all rows, `step` at a time.

        Raises:
            ValueError: there are values that are not finite.
        """
        largest, total = 0.0, np.zeros(training.shape[1])
        for name, rows in (("queries", queries), ("training", training)):
            for start in range(0, rows.shape[0], step):
                block = np.asarray(rows[start : start + step], dtype=np.float32)
                top = float(np.abs(block).max(initial=0.0))
                if not np.isfinite(top):
                    bad = int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])
                    raise ValueError(f"{name}: row {start + bad} has values that are not finite")
                largest = max(largest, top)
                if name == "training":
                    total += block.sum(axis=0, dtype=np.float64)
        return cls(total / max(1, training.shape[0]), largest)

    def load(self, rows: Any, device: torch.device) -> Tensor:
        """[n, D] as float32."""
        return torch.from_numpy(np.array(np.asarray(rows), dtype=np.float32)).to(device)

    def to_float(self, rows: Tensor, columns: slice) -> Tensor:
        """Shifted and scaled values."""
        self._centre = self._centre.to(rows.device)
        return (rows[:, columns] * self._scale).sub_(self._centre[columns])

    def slack(self, queries: Block, training: Block) -> Tensor:
        """[q] bound of the error against any row of the training block.

        With n columns a piece, products err by at most g |a| |b|, g = n u / (1 - n u), whatever
        the order of summation (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed.,
        equation 3.5). The shift rounds every coordinate by a share u of it: the rows move by
        u (|a| + |b|), their squared distance by little more than 2 u (|a| + |b|)^2. What is
        above that covers float64 and underflow.
        """
        length = piece(self.width)
        growth = length * _UNIT / (1 - length * _UNIT)
        a, b = queries.squares.sqrt(), training.squares.max().sqrt()
        return 2.02 * growth * a * b + 3 * _UNIT * (a + b).square() + 1e-30

    def measure(self, queries: Tensor, i: Tensor, training: Tensor, j: Tensor) -> Tensor:
        """[p] float64 distances of the pairs (i, j) of loaded rows, from their differences."""
        total = torch.zeros(len(i), dtype=torch.float64, device=i.device)
        for columns in pieces(self.width):
            difference = queries[:, columns][i].double() - training[:, columns][j]
            total += difference.square_().sum(dim=1)
        return total * self._scale**2


def piece(width: int) -> int:
    """Columns in a product; of equal numbers, because a short last piece would be slow."""
    count = -(-width // PIECE)
    return -(-width // count)


def pieces(width: int) -> list[slice]:
    """All columns."""
    length = piece(width)
    return [slice(start, min(start + length, width)) for start in range(0, width, length)]


def block_of(space: Space, rows: Tensor) -> Block:
    """Loaded rows with their squared norms."""
    squares = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for columns in pieces(space.width):
        squares += space.to_float(rows, columns).double().square_().sum(dim=1)
    return Block(rows, squares)


def block_distances(space: Space, queries: Block, training: Block) -> Tensor:
    """[q, n] float64 squared distances, up to the slack of the space.

    Float32 products must have full precision, see `torch.set_float32_matmul_precision`.
    """
    total = queries.squares[:, None] + training.squares
    product = torch.empty(total.shape, dtype=torch.float32, device=total.device)
    for columns in pieces(space.width):
        # Minus two is exact here and saves a pass over the block. Autocast leaves alone what has
        # an `out`.
        a = space.to_float(queries.rows, columns).mul_(-2.0)
        b = space.to_float(training.rows, columns)
        total += torch.mm(a, b.T, out=product)
    return total
