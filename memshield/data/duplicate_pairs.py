"""Duplicates that the scan found, as small pictures in the run directory, to look at.

They are training pictures: like the samples they stay where the run is, and are never published.
"""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path

import numpy as np
import numpy.typing as npt

from memshield.data.examples import Examples
from memshield.data.images import BadImage, open_image, to_mode
from memshield.data.source import Source

MOST, SIDE = 24, 128
_NAME = re.compile(r"(\d{2})-(equal|near)-first\.png")


@dataclass(frozen=True)
class FoundPair:
    """Two pictures of one duplicate group.

    Attributes:
        first, second: files.
        equal: whether all their pixels are equal.
    """

    first: Path
    second: Path
    equal: bool


def pairs_in_turn(groups: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Pairs of places in the same group, one of every group before the second of any.

    Args:
        groups: [N] group of every picture.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for place, group in enumerate(groups.tolist()):
        members[group].append(place)
    each = ([(first, other) for other in others] for first, *others in members.values() if others)
    return (pair for turn in zip_longest(*each) for pair in turn if pair is not None)


def write_pairs(folder: Path, source: Source, examples: Examples) -> None:
    """Write the first pairs as pictures, instead of others; no folder where there are none."""
    if folder.is_dir():
        shutil.rmtree(folder)  # of a start that came to nothing, perhaps with other pictures
    pairs = islice(pairs_in_turn(examples.group), MOST)
    for number, places in enumerate(pairs, 1):
        first, second = places
        equal = examples.sha256[first] == examples.sha256[second]
        try:
            images = [to_mode(open_image(source.picture(int(examples.row[place]))), "RGB")
                      for place in places]  # fmt: skip
        except BadImage:  # it could be read a moment ago
            continue
        folder.mkdir(exist_ok=True)
        # The first one last: a pair whose first one is there is whole.
        for image, which in reversed(list(zip(images, ("first", "second"), strict=True))):
            image.thumbnail((SIDE, SIDE))
            image.save(folder / f"{number:02}-{'equal' if equal else 'near'}-{which}.png")


def read_pairs(folder: Path) -> list[FoundPair]:
    """The pairs that were written, in order."""
    found = []
    for first in sorted(folder.glob("*-first.png")):
        match = _NAME.fullmatch(first.name)
        if match:
            second = first.with_name(first.name.replace("first", "second"))
            found.append(FoundPair(first, second, match[2] == "equal"))
    return found
