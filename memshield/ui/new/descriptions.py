"""Views of a model, of a dataset or the visitor's own pictures, and of duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from memshield.data.columns import first_caption
from memshield.data.images import BadImage, open_image, to_mode
from memshield.data.source import Source
from memshield.families.kinds import network_of
from memshield.forecast.duplicates import DuplicatePairs
from memshield.hub.catalog.dataset_description import (
    DatasetColumn,
    DatasetDescription,
    DatasetSplit,
)
from memshield.hub.catalog.model import ModelDescription
from memshield.hub.catalog.preview import Preview, Shown
from memshield.quantities import plural, size
from memshield.ui.widgets.pictures import picture_of
from memshield.ui.widgets.problems import empty_view, status_view
from memshield.ui.widgets.templates import render
from memshield.ui.widgets.words import count, short

FAMILY_NAMES = {
    "unconditional": "without prompts",
    "stable_diffusion": "Stable Diffusion",
    "stable_diffusion_xl": "Stable Diffusion XL",
    "stable_diffusion_3": "Stable Diffusion 3",
    "flux": "FLUX.1",
    "z_image": "Z-Image",
    "qwen_image": "Qwen-Image",
    "flux2_klein": "FLUX.2 klein",
    "krea2": "Krea 2",
}
_SIDE = 192
_MOST_SKIPPED = 10
_FIRST, _DECODED_SIDE = 8, 256
_MOST_PAIRS = 24
_KINDS = {
    "exact": "equal pixel by pixel",
    "near": "nearly the same",
    "mirrored": "mirror images",
}
_EFFECTS = {
    "same_shard": "Training keeps duplicates in one shard (duplicates: same_shard), so that the "
    "other shards never train on copies of them.",
    "spread": "Training spreads duplicates over the shards (duplicates: spread).",
    "drop": "Training uses the first picture of a group and leaves out the others (duplicates: "
    "drop).",
}


def _network(model: ModelDescription) -> str:
    return "UNet" if network_of(model.family) == "unet" else "transformer"


def model_view(model: ModelDescription) -> str:
    """The facts of a model."""
    facts = [
        ("family", FAMILY_NAMES[model.family]),
        ("class", model.pipeline_class),
        (
            "trained",
            "a LoRA" if model.training == "lora" else f"all weights of its {_network(model)}",
        ),
        ("resolution", f"{model.resolution} px" if model.resolution else ""),
        (
            f"weights of its {_network(model)}",
            short(model.parameters) if model.parameters is not None else "",
        ),
        ("to download", size(model.download_bytes) if model.download_bytes is not None else ""),
        ("license", str(model.license or "not stated")),
        ("its terms", (model.license and model.license.terms) or ""),
        ("downloads a month", count(model.downloads)),
        ("commit", model.sha[:12]),
    ]
    return _described("Model", model, facts, "")


def dataset_view(dataset: DatasetDescription) -> str:
    """The facts of a dataset, with the columns that training would use."""
    facts = [
        ("configuration", _one_of(dataset.config, dataset.configs)),
        ("format", dataset.format or ""),
        ("splits", "; ".join(map(_split, dataset.splits))),
        ("pictures", dataset.used.image if dataset.used else ""),
        ("captions", (dataset.used.caption or "none") if dataset.used else ""),
        ("classes", (dataset.used.label or "none") if dataset.used else ""),
        ("license", str(dataset.license or "not stated")),
        ("downloads a month", count(dataset.downloads)),
        ("commit", dataset.sha[:12]),
    ]
    problem = (
        f"Cannot be trained on yet: {dataset.unused}."
        if dataset.unused and dataset.has_access
        else ""
    )
    return _described(
        "Dataset", dataset, facts, problem.replace("..", "."), columns=dataset.columns
    )


def preview_view(found: Preview) -> str:
    """The first pictures with their captions, and why others cannot be shown."""
    if not found.shown and not found.skipped:
        return empty_view("No pictures", "The split is empty.")
    return render(
        "preview",
        shown=[(picture_of(one.image, _SIDE), one.caption, one.row) for one in found.shown],
        skipped=found.skipped[:_MOST_SKIPPED],
        more=max(0, len(found.skipped) - _MOST_SKIPPED),
    )


def own_view(source: Source) -> str:
    """The number of pictures, whether they have captions, and the first of them."""
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
        image.thumbnail((_DECODED_SIDE, _DECODED_SIDE))
        shown.append(Shown(row, image, None if caption is None else first_caption(caption)))
    facts = [plural(len(source), "picture")]
    facts.append(f"captions from {names.caption!r}" if names.caption else "no captions")
    if names.label:
        facts.append(f"classes from {names.label!r}")
    return status_view(", ".join(facts)) + preview_view(Preview(tuple(shown), tuple(skipped)))


def duplicates_view(found: DuplicatePairs, setting: object) -> str:
    """Duplicates as pairs, and how training treats them.

    Args:
        found: by the rules of training.
        setting: value of `duplicates` in the form; anything else means its default.
    """
    shown = found.shown[:_MOST_PAIRS]
    number = max(found.pictures - found.groups, len(found.shown))
    return render(
        "duplicates",
        found=found,
        pairs=[
            (
                *(picture_of(image, _SIDE) for image in pair.images),
                _KINDS[pair.kind],
            )
            for pair in shown
        ],
        number=number,
        more=number - len(shown),
        effect=_EFFECTS.get(setting if isinstance(setting, str) else "", _EFFECTS["same_shard"]),
    )


def _described(
    kind: str,
    described: ModelDescription | DatasetDescription,
    facts: list[tuple[str, str]],
    problem: str,
    columns: Sequence[DatasetColumn] = (),
) -> str:
    return render(
        "described",
        kind=kind,
        described=described,
        page=described.page if urlsplit(described.page).scheme in ("http", "https") else "",
        facts=[(name, value) for name, value in facts if value],
        problem=problem,
        columns=columns,
    )


def _one_of(name: str | None, names: Sequence[str]) -> str:
    others = [other for other in names if other != name]
    shown = ", ".join(others[:8]) + (", …" if len(others) > 8 else "")
    return f"{name or ''}{f' (others: {shown})' if others else ''}".strip()


def _split(split: DatasetSplit) -> str:
    known = [plural(split.rows, "row")] if split.rows is not None else []
    known += [size(split.bytes)] if split.bytes is not None else []
    return f"{split.name}: {', '.join(known)}" if known else split.name
