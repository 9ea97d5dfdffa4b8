"""Views of the picture tray: its summary, a page of its pictures, and what became of an upload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from PIL import Image

from memshield.data.images import BadImage, open_image
from memshield.forecast.duplicates import MOST_PICTURES, DuplicatePairs, pair_up
from memshield.quantities import plural, size
from memshield.ui.new.uploads.adding import Added
from memshield.ui.new.uploads.checked_picture import SIDE
from memshield.ui.new.uploads.metadata import LONGEST_CAPTION
from memshield.ui.new.uploads.tray import Tray, TrayPicture, copies
from memshield.ui.widgets.pictures import picture_in
from memshield.ui.widgets.templates import render

Which = Literal["all", "noted", "bare"]
PAGE = 24
"""Pictures at once."""
SMALL = 32
"""Shorter side, in pixels, below which a picture is too small to learn from."""
_NAMED, _LISTED = 4, 200


@dataclass(frozen=True)
class Showing:
    """The part of the tray that is shown.

    Attributes:
        which: all pictures, those with notes, or those without a caption.
        page: counted from 0.
    """

    which: Which = "all"
    page: int = 0


def show(value: object) -> Showing | None:
    """The first page of a choice of pictures; None if it is no such choice."""
    return next((Showing(one) for one in get_args(Which) if one == value), None)


def notes_of(pictures: Sequence[TrayPicture]) -> dict[str, list[str]]:
    """What a person should know of pictures, by id; pictures without notes are left out."""
    twins = copies(pictures)
    found: dict[str, list[str]] = {}
    for one in pictures:
        notes = []
        if _is_small(one):
            notes.append(f"{one.width} × {one.height} px")
        if one.frames:
            notes.append("first frame only")
        if one.id in twins:
            notes.append(f"copy of {twins[one.id].name}")
        if notes:
            found[one.id] = notes
    return found


def chosen(pictures: Sequence[TrayPicture], showing: Showing) -> list[TrayPicture]:
    """The pictures of a choice, on all pages."""
    if showing.which == "noted":
        notes = notes_of(pictures)
        return [one for one in pictures if one.id in notes]
    return [one for one in pictures if showing.which == "all" or not one.caption]


def within(pictures: Sequence[TrayPicture], showing: Showing) -> Showing:
    """The same choice at a page that exists; all pictures if the choice has become empty."""
    count = len(chosen(pictures, showing))
    if not count and showing.which != "all":
        return Showing()
    return replace(showing, page=max(0, min(showing.page, (count - 1) // PAGE)))


def head_view(pictures: Sequence[TrayPicture], showing: Showing) -> str:
    """The number of pictures, what to know of some, and a choice of those shown."""
    if not pictures:
        return ""
    bare = sum(not one.caption for one in pictures)
    labels = {one.label for one in pictures if one.label}
    facts = [
        plural(len(pictures), "picture"),
        "no captions" if bare == len(pictures) else f"{len(pictures) - bare:,} with captions",
        size(sum(one.bytes for one in pictures)),
    ]
    if len(labels) > 1:
        facts.insert(2, plural(len(labels), "class", "classes"))
    twins = copies(pictures)
    choices: Mapping[Which, tuple[str, int]] = {
        "all": ("All", len(pictures)),
        "noted": ("With notes", len(notes_of(pictures))),
        "bare": ("Without caption", bare if bare < len(pictures) else 0),
    }
    offered = [
        (name, words, count, name == showing.which)
        for name, (words, count) in choices.items()
        if count or name == showing.which
    ]
    return render(
        "tray_head",
        facts=facts,
        count=len(pictures),
        small=_some([f"{one.name} ({one.width} × {one.height})"
                     for one in pictures if _is_small(one)]),
        frames=_some([one.name for one in pictures if one.frames]),
        twins=_some([f"{one.name} is {twins[one.id].name}" if one.name != twins[one.id].name
                     else f"a second {one.name}" for one in pictures if one.id in twins]),
        small_px=SMALL,
        choices=offered if len(offered) > 1 else [],
    )  # fmt: skip


def pictures_view(tray: Tray, pictures: Sequence[TrayPicture], showing: Showing) -> str:
    """A page of pictures, each with its caption and a button that removes it."""
    if not pictures:
        return ""
    listed = chosen(pictures, showing)
    first = showing.page * PAGE
    notes = notes_of(pictures)
    items = [
        (one, picture_in(tray.small(one, "webp"), SIDE), notes.get(one.id, []))
        for one in listed[first : first + PAGE]
    ]
    return render(
        "tray_pictures",
        items=items,
        first=first + 1,
        last=first + len(items),
        count=len(listed),
        page=showing.page,
        pages=-(-len(listed) // PAGE),
        longest=LONGEST_CAPTION,
    )


def added_view(added: Added) -> str:
    """What became of an upload, with the files that were left out."""
    parts = []
    if added.added:
        parts.append(f"{plural(added.added, 'picture')} added")
    if added.already:
        parts.append(f"{added.already:,} in the tray already")
    if added.captioned:
        parts.append(f"captions or classes of {plural(added.captioned, 'picture')} read")
    left = added.left_out
    if left:
        parts.append(f"{len(left):,} left out")
    return render(
        "tray_added",
        words=", ".join(parts),
        left=left[:_NAMED],
        more=left[_NAMED:_LISTED],
        rest=max(0, len(left) - _LISTED),
    )


def tray_pairs(tray: Tray, pictures: Sequence[TrayPicture], mirrored: bool) -> DuplicatePairs:
    """Find duplicates in the tray, by the rules of training; nothing is decoded for it.

    Only the first pictures are compared: the time grows with the square.

    Args:
        tray: of the visitor.
        pictures: in it.
        mirrored: whether training is to mirror pictures, so that mirror images count.
    """
    compared, hashes, colours = [], [], []
    for one in pictures[:MOST_PICTURES]:
        try:
            held = np.frombuffer(tray.small(one, "rgb").read_bytes(), np.uint8)
        except FileNotFoundError:  # removed a moment ago
            continue
        compared.append(one)
        hashes.append(one.sha256)
        colours.append(held.astype(np.float32) / np.float32(255))

    def image(place: int) -> Image.Image:
        try:
            return open_image(tray.small(compared[place], "webp"))
        except BadImage:  # removed a moment ago
            return Image.new("RGB", (SIDE, SIDE), "lightgrey")

    return replace(pair_up(hashes, colours, image, mirrored=mirrored), rows=len(pictures))


def _is_small(picture: TrayPicture) -> bool:
    return min(picture.width, picture.height) < SMALL


def _some(names: list[str]) -> tuple[int, str]:
    """The number of names, and the first of them in a line."""
    more = len(names) - _NAMED
    return len(names), ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")
