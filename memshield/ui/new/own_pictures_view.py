"""What a person's own pictures are, and which of them are there twice."""

from __future__ import annotations

from memshield.data.images import BadImage, open_image, to_mode
from memshield.data.source import Source, first_caption
from memshield.forecast.duplicates import Pairs
from memshield.hub.catalog.preview import Preview, Shown
from memshield.ui.new.descriptions import Pair, pairs_view, preview_view
from memshield.ui.widgets.problems import status_view
from memshield.ui.widgets.templates import render
from memshield.ui.widgets.words import plural

_FIRST = 8
_SIDE = 256
_DONE_WITH = {
    "same_shard": "Training keeps a group of them in one shard (duplicates: same_shard), so that "
    "the copies trained on the other shards never see it.",
    "spread": "Training spreads a group of them over the shards (duplicates: spread).",
    "drop": "Training takes the first of a group and leaves the others out (duplicates: drop).",
}


def own_view(source: Source) -> str:
    """How many there are, whether they have captions, and the first of them."""
    shown, skipped = [], []
    rows = list(range(min(_FIRST, len(source))))
    names = source.columns
    captions = source.rows[rows][names.caption] if names.caption else [None] * len(rows)
    for row, stored, caption in zip(rows, source.pictures(rows), captions, strict=True):
        try:
            image = to_mode(open_image(stored), "RGB")
        except BadImage as error:
            skipped.append(f"picture {row}: {type(error).__name__}: {error}")
            continue
        image.thumbnail((_SIDE, _SIDE))
        shown.append(Shown(row, image, None if caption is None else first_caption(caption)))
    told = [plural(len(source), "picture")]
    told.append(f"captions from {names.caption!r}" if names.caption else "no captions")
    if names.label:
        told.append(f"classes from {names.label!r}")
    return status_view(", ".join(told)) + preview_view(Preview(tuple(shown), tuple(skipped)))


def duplicates_view(found: Pairs, setting: object) -> str:
    """Duplicates as pairs, and what training does with them.

    Args:
        found: by the rules of training.
        setting: `duplicates`, as the form has it; anything else stands for the default.
    """
    words = [
        Pair(*one.images, "equal pixel by pixel" if one.kind == "exact" else "nearly the same")
        for one in found.shown
    ]
    done = _DONE_WITH.get(setting if isinstance(setting, str) else "", _DONE_WITH["same_shard"])
    return render(
        "duplicates",
        pairs=pairs_view(words, max(found.pictures - found.groups, len(words))),
        found=found,
        done=done if words else "",
    )
