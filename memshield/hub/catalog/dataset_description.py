"""The description of a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from memshield.data.columns import Columns
from memshield.errors import UserError
from memshield.hub.catalog.license import License

Kind = Literal["image", "text", "class label", "other"]


@dataclass(frozen=True)
class DatasetColumn:
    """A column.

    Attributes:
        name: of the column.
        kind: what it holds; "text" may be several texts a row.
        type: in the words of the datasets library.
        classes: names of its classes; () unless it holds class labels.
    """

    name: str
    kind: Kind
    type: str
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetSplit:
    """A split.

    Attributes:
        name: such as train.
        rows: how many; None where that is not known without downloading it.
        bytes: size of its files; None where they cannot be listed.
    """

    name: str
    rows: int | None
    bytes: int | None


@dataclass(frozen=True)
class DatasetDescription:
    """A dataset.

    Where conditions have yet to be accepted (`has_access` is False) its files cannot be looked
    into: only what the card says is told then.

    Attributes:
        id: owner/name, as the repository is called today.
        sha: the commit that was looked at.
        page: address of its page, where conditions are accepted.
        configs: names of its configurations; () without access and where the card names none.
        config: the one that is described: the default one, or else the first; None without any.
        format: how the datasets library reads it, such as parquet or imagefolder; None without
            access.
        splits: of this configuration.
        columns: of this configuration; () where they are not known without downloading it.
        used: columns that training would take; None where it would take none.
        unused: why it would take none; None where `used` is known.
        license: as its card says; None where it says nothing.
        gated: whether its files are handed out only to who has accepted conditions.
        has_access: whether this token may read its files.
        private: whether only its owner sees it.
        downloads: in the last 30 days.
        likes: of all time.
    """

    id: str
    sha: str
    page: str
    configs: tuple[str, ...]
    config: str | None
    format: str | None
    splits: tuple[DatasetSplit, ...]
    columns: tuple[DatasetColumn, ...]
    used: Columns | None
    unused: str | None
    license: License | None
    gated: bool
    has_access: bool
    private: bool
    downloads: int
    likes: int

    def count(self, split: str) -> int | None:
        """Number of pictures of a split, or of several that + joins.

        Args:
            split: as the datasets library takes it: train, train+test, train[:10%].

        Returns:
            None where that is not known without downloading it, as of a part of a split.

        Raises:
            UserError: the dataset has no such split.
        """
        there = {one.name: one.rows for one in self.splits}
        total: int | None = 0
        for part in split.split("+"):
            name, cut, _ = part.strip().partition("[")
            if name not in there:
                raise UserError(
                    "dataset_split",
                    f"{self.id} has no split {name!r}",
                    f"It has: {', '.join(there)}.",
                )
            rows = None if cut else there[name]
            total = None if total is None or rows is None else total + rows
        return total
