"""The first pictures of a dataset on the Hub, decoded with the limits of training."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from memshield.data.columns import choose_columns, first_caption
from memshield.data.images import BadImage, open_image, to_mode
from memshield.errors import UserError
from memshield.hub.account import require_token
from memshield.hub.catalog.access import (
    FIELDS,
    look_up_dataset,
    may_read,
    require_id,
)
from memshield.hub.catalog.formats import FORMATS, Opened, opening
from memshield.hub.catalog.reader import Row
from memshield.network import Token, gated

MOST = 64
"""Pictures at once."""


@dataclass(frozen=True)
class Shown:
    """A picture.

    Attributes:
        row: its place in the split, from 0.
        image: RGB, scaled down to the side that was asked for.
        caption: the one that training would take; None where the dataset has none.
    """

    row: int
    image: Image.Image
    caption: str | None


@dataclass(frozen=True)
class Preview:
    """The first rows of a split.

    Attributes:
        shown: those whose pictures can be decoded.
        skipped: why others are not shown, a sentence each.
    """

    shown: tuple[Shown, ...]
    skipped: tuple[str, ...]


def preview(
    repo_id: str,
    split: str = "train",
    count: int = 8,
    *,
    config: str | None = None,
    revision: str | None = None,
    image_column: str | None = None,
    caption_column: str | None = None,
    side: int = 512,
    token: Token,
) -> Preview:
    """The first rows of a split; no more is fetched than holds them.

    Args:
        repo_id: owner/name, or the address of its page.
        split: such as train.
        count: how many rows are looked at, 1 to 64.
        config: name of the configuration; None for the default one, or else the first.
        revision: branch, tag or commit; None for its main branch.
        image_column, caption_column: None for those that training would take.
        side: pictures are scaled down to this many pixels at their longer side.
        token: see `memshield.network.Token`.

    Raises:
        UserError: as `describe_dataset`; also a gated dataset without access, an unknown split,
            a format that cannot be looked into, no column of pictures.
    """
    if not 1 <= count <= MOST:
        raise UserError("count", f"must lie in 1 to {MOST}, is {count}", "")
    name, token = require_id(repo_id, "dataset"), require_token(token)
    info = look_up_dataset(name, revision or None, token)
    if not may_read(info, "dataset", token):
        raise gated(FIELDS["dataset"], info.id, "dataset")
    with opening(info, config or None, token) as opened:
        rows = _rows(opened, split, count, image_column, caption_column)
    return _decoded(rows, side)


def _rows(
    opened: Opened, split: str, count: int, image: str | None, caption: str | None
) -> list[Row]:
    files, reader = opened.files, opened.reader
    if split not in files.splits:
        raise UserError(
            "dataset_split",
            f"{opened.remote.id} has no split {split!r}",
            f"It has: {', '.join(files.splits)}.",
        )
    if reader is None:
        raise UserError(
            FIELDS["dataset"],
            f"{opened.remote.id} is stored as {files.format}, which cannot be looked into in place",
            f"These can: {', '.join(FORMATS)}.",
        )
    columns = choose_columns(files.features or reader.features(), image, caption)
    return list(reader.first(split, columns.image, columns.caption, count))


def _decoded(rows: list[Row], side: int) -> Preview:
    shown, skipped = [], []
    for row in rows:
        problem = row.problem
        if problem is None:
            try:
                # Only what was fetched: a stored path would be a file of this machine.
                image = to_mode(open_image(row.picture), "RGB")
            except BadImage as error:
                problem = _words(error)
            else:
                image.thumbnail((side, side))
                caption = None if row.caption is None else first_caption(row.caption)
                shown.append(Shown(row.number, image, caption))
        if problem is not None:
            skipped.append(f"row {row.number}: {problem}")
    return Preview(tuple(shown), tuple(skipped))


def _words(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is broken, or no picture at all"
    return f"{type(error).__name__}: {error}"
