"""What a model or dataset on the Hub is, the first pictures of one, and its duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from PIL import Image

from memshield.hub.catalog.dataset_description import Column, DatasetDescription, Split
from memshield.hub.catalog.model import ModelDescription
from memshield.hub.catalog.preview import Preview
from memshield.quantities import size
from memshield.ui.new.family_names import FAMILIES
from memshield.ui.widgets.pictures import picture_of
from memshield.ui.widgets.problems import empty_view
from memshield.ui.widgets.templates import render
from memshield.ui.widgets.words import count, plural, short

_SIDE = 192
MOST_PAIRS = 24
_MOST_SKIPPED = 10


@dataclass(frozen=True)
class Pair:
    """Two training pictures that are nearly the same.

    Attributes:
        first, second: the pictures.
        words: which they are, and how they are alike.
    """

    first: Image.Image
    second: Image.Image
    words: str


def model_view(one: ModelDescription) -> str:
    """A model in a few facts."""
    facts = [
        ("family", FAMILIES[one.family]),
        ("class", one.pipeline_class),
        ("trained", "a LoRA" if one.training == "lora" else "all weights of its UNet"),
        ("resolution", f"{one.resolution} px" if one.resolution else ""),
        ("weights of its UNet", short(one.parameters) if one.parameters is not None else ""),
        ("to download", size(one.download_bytes) if one.download_bytes is not None else ""),
        ("license", str(one.license or "not stated")),
        ("downloads a month", count(one.downloads)),
        ("commit", one.sha[:12]),
    ]
    return _described("Model", one, facts, "")


def dataset_view(one: DatasetDescription) -> str:
    """A dataset in a few facts, with what training would take of it."""
    facts = [
        ("configuration", _one_of(one.config, one.configs)),
        ("format", one.format or ""),
        ("splits", "; ".join(map(_split, one.splits))),
        ("pictures", one.used.image if one.used else ""),
        ("captions", (one.used.caption or "none") if one.used else ""),
        ("classes", (one.used.label or "none") if one.used else ""),
        ("license", str(one.license or "not stated")),
        ("downloads a month", count(one.downloads)),
        ("commit", one.sha[:12]),
    ]
    problem = f"Cannot be trained on yet: {one.unused}." if one.unused and one.has_access else ""
    return _described("Dataset", one, facts, problem.replace("..", "."), columns=one.columns)


def preview_view(found: Preview) -> str:
    """The first pictures with their captions, and why others are not shown."""
    if not found.shown and not found.skipped:
        return empty_view("No pictures", "The split is empty.")
    return render(
        "preview",
        shown=[(picture_of(one.image, _SIDE), one.caption, one.row) for one in found.shown],
        skipped=found.skipped[:_MOST_SKIPPED],
        more=max(0, len(found.skipped) - _MOST_SKIPPED),
    )


def pairs_view(pairs: Sequence[Pair], total: int | None = None) -> str:
    """Duplicates, side by side.

    Args:
        pairs: the first of them.
        total: how many there are.
    """
    if not pairs:
        return empty_view("No duplicates found", "No two training pictures are nearly the same.")
    number = len(pairs) if total is None else total
    return render(
        "pairs",
        pairs=[
            (picture_of(one.first, _SIDE), picture_of(one.second, _SIDE), one.words)
            for one in pairs[:MOST_PAIRS]
        ],
        number=number,
        more=max(0, number - min(len(pairs), MOST_PAIRS)),
    )


def _described(
    kind: str,
    one: ModelDescription | DatasetDescription,
    facts: list[tuple[str, str]],
    problem: str,
    columns: Sequence[Column] = (),
) -> str:
    return render(
        "described",
        kind=kind,
        one=one,
        page=one.page if urlsplit(one.page).scheme in ("http", "https") else "",
        facts=[(name, value) for name, value in facts if value],
        problem=problem,
        columns=columns,
    )


def _one_of(name: str | None, names: Sequence[str]) -> str:
    others = [other for other in names if other != name]
    shown = ", ".join(others[:8]) + (", …" if len(others) > 8 else "")
    return f"{name or ''}{f' (others: {shown})' if others else ''}".strip()


def _split(split: Split) -> str:
    known = [plural(split.rows, "row")] if split.rows is not None else []
    known += [size(split.bytes)] if split.bytes is not None else []
    return f"{split.name}: {', '.join(known)}" if known else split.name
