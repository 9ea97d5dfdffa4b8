"""The built-in pictures, which need no network: scikit-learn's 1,797 handwritten digits."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

IMAGE, LABEL = "image", "label"
FILE = "datasets/data/digits.csv.gz"
"""In scikit-learn's folder; a row is 64 values of 0 to 16, and the label."""


class Digits:
    """Rows of the digits, as those of the datasets library, which takes half a second to import.

    Args:
        images: [N, 8, 8], grey.
        labels: 0 to 9.
    """

    def __init__(self, images: npt.NDArray[np.uint8], labels: list[int]) -> None:
        self.images, self.labels = images, labels

    @classmethod
    def load(cls) -> Digits:
        """All of them."""
        # From the file of `load_digits`: its import takes half a second, for it brings pandas.
        found = find_spec("sklearn")
        assert found is not None
        assert found.origin is not None
        rows = np.loadtxt(Path(found.origin).parent / FILE, delimiter=",")
        images = np.rint(rows[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
        return cls(images, rows[:, -1].astype(int).tolist())

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: str | list[int]) -> Any:
        columns: dict[str, Any] = {IMAGE: self.images, LABEL: self.labels}
        if isinstance(key, str):
            return list(columns[key])
        return {name: [values[row] for row in key] for name, values in columns.items()}

    def some(self, count: int, seed: int) -> Digits:
        """The rows that `shuffle(seed)` of the datasets library puts first."""
        rows = np.random.default_rng(seed).permutation(len(self))[:count]
        return Digits(self.images[rows], [self.labels[row] for row in rows])
