"""The interface for reading a dataset in place, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class Row:
    """A row, as far as it was fetched.

    Attributes:
        number: its place in the split, from 0.
        picture: what is stored for its picture; see `memshield.data.images.open_image`.
        caption: what is stored for its caption; None where there is none.
        problem: why the picture was not fetched; None where it was.
    """

    number: int
    picture: Any
    caption: Any
    problem: str | None = None


class Reader(Protocol):
    """One configuration of a dataset. Every method reads as little as possible.

    Every method raises OSError for files that cannot be had and ValueError for broken ones.
    """

    def features(self) -> datasets.Features:
        """Types of the columns."""

    def count(self, split: str) -> int | None:
        """Rows of a split; None where counting would fetch too much."""

    def holds_only_paths(self, image: str) -> bool:
        """Whether a column names pictures and holds none, as far as that is known."""

    def first(self, split: str, image: str, caption: str | None, count: int) -> Iterator[Row]:
        """The first rows of a split: the columns of the picture and of the caption."""
