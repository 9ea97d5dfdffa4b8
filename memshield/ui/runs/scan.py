"""What the scan before training found: pictures, their split, and duplicates as pairs."""

from __future__ import annotations

from memshield.data.duplicate_pairs import read_pairs
from memshield.rundir import RunDir
from memshield.runs.state import RunProgress
from memshield.ui.widgets.pictures import picture_in
from memshield.ui.widgets.templates import render

_SIDE = 128


def scanned_view(progress: RunProgress, run: RunDir) -> str:
    """The pictures of a run; nothing before they were scanned."""
    if not progress.pictures:
        return ""
    pairs = []
    for one in read_pairs(run.duplicates):
        first, second = (picture_in(path, _SIDE) for path in (one.first, one.second))
        if first is not None and second is not None:
            words = "equal pixel by pixel" if one.equal else "nearly the same"
            pairs.append((first, second, words))
    return render("scanned", facts=progress.pictures, pairs=pairs)
