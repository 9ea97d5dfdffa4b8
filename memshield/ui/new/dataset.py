"""Choosing a dataset on the Hub: what it holds, which part of it, and its first pictures."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import gradio as gr

from memshield.errors import UserError
from memshield.hub.catalog.dataset import describe_dataset
from memshield.hub.catalog.dataset_description import DatasetDescription
from memshield.hub.catalog.preview import preview
from memshield.hub.catalog.search import search_datasets
from memshield.network import Token, gated
from memshield.ui.new.dataset_parts import Part, parts_of, picture_columns
from memshield.ui.new.descriptions import dataset_view, preview_view
from memshield.ui.new.search_box import SearchBox, dataset_line, is_id, search_box
from memshield.ui.server.server import Server
from memshield.ui.widgets.fields import RAW, Fields
from memshield.ui.widgets.problems import each, problem_view

FIELD = "dataset"
PARTS = {
    "dataset_config": "Configuration",
    "split": "Split",
    "image_column": "Column of pictures",
    "caption_column": "Column of captions",
    "label_column": "Column of classes",
}


def choose_dataset(server: Server, fields: Fields) -> SearchBox:
    """Lay it out.

    Args:
        server: see there.
        fields: takes the box and the parts.
    """
    box = search_box(server, fields, FIELD, "Dataset", search_datasets, dataset_line, 1)
    parts: dict[str, gr.Dropdown] = {}
    with gr.Row():
        for name, label in PARTS.items():
            parts[name] = fields.add(name, label, partial(_dropdown, label))
    pictures = gr.HTML(elem_id="first-pictures", elem_classes=["ms-slot"])

    def told(name: str, config: object, token: gr.OAuthToken | None) -> list[Any]:
        try:
            one = describe_dataset(name, _word(config), token=server.visitor(token).token)
        except UserError as error:
            found = UserError(FIELD, error.problem, error.remedy)
            return ["", problem_view(found, FIELD), "", *_dropdowns(None)]
        problem = problem_of(one)
        wrong = problem_view(problem, FIELD) if problem else ""
        # Where a column is proposed, it is no problem that there are several.
        shown = one if parts_of(one)["image_column"].value is None else replace(one, unused=None)
        about = dataset_view(shown) if one.has_access else ""
        return [about, wrong, "" if problem else name, *_dropdowns(one)]

    def on_name(name: object, seen: str, token: gr.OAuthToken | None) -> list[Any]:
        text = name.strip() if isinstance(name, str) else ""
        if not text:
            return ["", "", "", *_dropdowns(None)]
        if text == seen or not is_id(text):
            return [gr.skip()] * len(outputs)  # told already, or somebody is still searching
        return told(text, None, token)

    def on_config(seen: str, config: object, token: gr.OAuthToken | None) -> list[Any]:
        return told(seen, config, token) if seen else [gr.skip()] * len(outputs)

    def on_part(
        seen: str, config: object, split: object, image: object, caption: object,
        token: gr.OAuthToken | None,
    ) -> str:  # fmt: skip
        # Of what is told of: while somebody types, the box holds words.
        if not seen:
            return ""
        try:
            chosen = (config, split, image, caption)
            return first_pictures(seen, chosen, server.visitor(token).token)
        except UserError as error:
            return problem_view(error, *(one.field for one in each(error)))

    outputs = [box.about, fields.slots[FIELD], box.seen, *parts.values()]
    asks: dict[str, Any] = {**RAW, "show_progress_on": [box.about, pictures]}
    config, *others, _ = parts.values()
    shows = [box.seen, config, *others]
    gr.on([box.text.blur, box.text.submit], on_name, [box.text, box.seen], outputs, **asks)
    box.picked.then(on_name, [box.text, box.seen], outputs, **asks)
    config.input(on_config, [box.seen, config], outputs, **asks).then(
        on_part, shows, pictures, **asks
    )
    gr.on([box.seen.change, *(one.input for one in others)], on_part, shows, pictures, **asks)
    return box


def problem_of(one: DatasetDescription) -> UserError | None:
    """Why a dataset cannot be trained on, whatever is chosen of it; None where it can."""
    if not one.has_access:
        return gated(FIELD, one.id, "dataset")
    if one.columns and one.used is None and not picture_columns(one):
        listed = ", ".join(column.name for column in one.columns)
        return UserError(FIELD, f"{one.id} holds no pictures (columns: {listed})", "Take another.")
    return None


def first_pictures(name: str, chosen: tuple[object, ...], token: Token) -> str:
    """The first pictures of a part of a dataset.

    Args:
        name: of the dataset.
        chosen: configuration, split, columns of pictures and of captions; None for its own.
        token: see `memshield.network.Token`.

    Raises:
        UserError: they cannot be had.
    """
    config, split, image, caption = map(_word, chosen)
    return preview_view(
        preview(
            name, split or "train", config=config, image_column=image, caption_column=caption,
            token=token,
        )
    )  # fmt: skip


def _dropdown(label: str) -> gr.Dropdown:
    return gr.Dropdown([], label=label, visible=False, interactive=True)


def _dropdowns(one: DatasetDescription | None) -> list[Any]:
    """The parts of a dataset to choose from; hidden where there is nothing to choose."""
    found = parts_of(one) if one is not None else {}
    return [_part(found.get(name)) for name in PARTS]


def _part(part: Part | None) -> Any:
    if part is None:
        return gr.Dropdown([], value=None, visible=False)
    return gr.Dropdown(list(part.options), value=part.value, visible=part.offered)


def _word(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) and len(value) <= 500 else None
