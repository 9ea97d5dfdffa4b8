"""Views of the pictures of a run: those that it was trained on, and the samples of each round."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from memshield.data.duplicate_pairs import read_pairs
from memshield.rundir import RunDir
from memshield.runs.state import RunProgress
from memshield.ui.widgets.pictures import Picture, picture_in
from memshield.ui.widgets.problems import empty_view
from memshield.ui.widgets.templates import render

LARGE, SMALL = 768, 192
_PAIR_SIDE = 128
MOST_EARLIER = 24


def samples_view(run: RunDir, prompts: Sequence[str] = ()) -> str:
    """Show the newest grid of samples large, and earlier ones in a strip.

    Args:
        run: holds the grids.
        prompts: one for each row of a grid, if drawn from prompts.
    """
    grids = _grids(run)
    newest = _newest(grids, LARGE)
    if newest is None:
        return empty_view("No samples yet", "A grid of samples is drawn at the end of every round.")
    number, large = newest
    before = [one for one in grids if one[0] < number]
    earlier: list[tuple[int, Picture]] = []
    for other, path in before[-MOST_EARLIER:]:
        small = picture_in(path, SMALL)
        if small is not None:
            earlier.append((other, small))
    return render(
        "samples",
        number=number,
        large=large,
        earlier=earlier[::-1],
        left_out=max(0, len(before) - MOST_EARLIER),
        prompts=list(prompts),
    )


def newest_sample(run: RunDir, side: int) -> Picture | None:
    """The newest grid of samples at a size; None where there is none."""
    newest = _newest(_grids(run), side)
    return None if newest is None else newest[1]


def _newest(grids: Sequence[tuple[int, Path]], side: int) -> tuple[int, Picture] | None:
    for number, path in reversed(grids):
        found = picture_in(path, side)
        if found is not None:
            return number, found
    return None


def _grids(run: RunDir) -> list[tuple[int, Path]]:
    found = []
    for path in run.samples.glob("round-*.png"):
        match = re.fullmatch(r"round-(\d{1,9})", path.stem)
        if match:
            found.append((int(match[1]), path))
    return sorted(found)


def scan_view(progress: RunProgress, run: RunDir) -> str:
    """Show the scanned pictures and their duplicates; empty before the scan."""
    if not progress.pictures:
        return ""
    pairs = []
    for one in read_pairs(run.duplicates):
        first, second = (picture_in(path, _PAIR_SIDE) for path in (one.first, one.second))
        if first is not None and second is not None:
            words = "equal pixel by pixel" if one.equal else "nearly the same"
            pairs.append((first, second, words))
    return render("scan", facts=progress.pictures, pairs=pairs)
