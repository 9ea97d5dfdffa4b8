"""Chooses a dataset on the Hub: describes it, offers its parts, and shows its first pictures."""

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
from memshield.ui.errors import on_error
from memshield.ui.new.dataset_parts import DatasetPart, parts_of, picture_columns
from memshield.ui.new.descriptions import dataset_view, preview_view
from memshield.ui.new.search_box import SearchBox, dataset_line, is_id, search_box
from memshield.ui.server.server import Server
from memshield.ui.widgets.fields import RAW, Fields
from memshield.ui.widgets.problems import problem_view

FIELD = "dataset"
PARTS = {
    "dataset_config": "Configuration",
    "split": "Split",
    "image_column": "Column of pictures",
    "caption_column": "Column of captions",
    "label_column": "Column of classes",
}


def choose_dataset(server: Server, fields: Fields) -> SearchBox:
    """Lay out the choice of a dataset.

    Args:
        server: the page's server.
        fields: takes the search box and the parts.
    """
    box = search_box(server, fields, FIELD, "Dataset", search_datasets, dataset_line, 1)
    parts: dict[str, gr.Dropdown] = {}
    with gr.Row():
        for name, label in PARTS.items():
            parts[name] = fields.add(name, label, partial(_dropdown, label))
    pictures = gr.HTML(elem_id="first-pictures", elem_classes=["ms-slot"])
    # gradio tells of an input also where a list is left as it was.
    described, previewed = gr.State(None), gr.State(None)

    @on_error(lambda error: ["", problem_view(error), "", *_dropdowns(None), None])
    def inspect(name: str, config: object, token: gr.OAuthToken | None) -> list[Any]:
        dataset = describe_dataset(name, _short_text(config), token=server.visitor(token).token)
        problem = problem_of(dataset)
        # If a column is proposed, several columns of pictures are no problem.
        proposed = parts_of(dataset)["image_column"].value is not None
        shown = replace(dataset, unused=None) if proposed else dataset
        about = dataset_view(shown) if dataset.has_access else ""
        parts = [*_dropdowns(dataset), parts_of(dataset)["dataset_config"].value]
        if problem is not None:
            return [about, problem_view(problem), "", *parts]
        return [about, "", name, *parts]

    def on_name(name: object, seen: str, token: gr.OAuthToken | None) -> list[Any]:
        text = name.strip() if isinstance(name, str) else ""
        if not text:
            return ["", "", "", *_dropdowns(None), None]
        if text == seen or not is_id(text):
            return [gr.skip()] * len(outputs)  # described already, or still being typed
        return inspect(text, None, token)

    def on_config(
        seen: str, config: object, before: object, token: gr.OAuthToken | None
    ) -> list[Any]:
        if not seen or _short_text(config) == before:
            return [gr.skip()] * len(outputs)
        return inspect(seen, config, token)

    @on_error(lambda error: [problem_view(error), None])
    def on_part(
        seen: str, config: object, split: object, image: object, caption: object, before: object,
        token: gr.OAuthToken | None,
    ) -> list[Any]:  # fmt: skip
        # The described dataset: the box may hold search words by now.
        if not seen:
            return ["", None]
        chosen = (config, split, image, caption)
        if [seen, *chosen] == before:
            return [gr.skip(), gr.skip()]
        return [first_pictures(seen, chosen, server.visitor(token).token), [seen, *chosen]]

    outputs = [box.about, fields.slots[FIELD], box.seen, *parts.values(), described]
    asks: dict[str, Any] = {**RAW, "show_progress_on": [box.about, pictures]}
    config, *others, _ = parts.values()
    shows: dict[str, Any] = {
        "fn": on_part, "inputs": [box.seen, config, *others, previewed],
        "outputs": [pictures, previewed], **asks,
    }  # fmt: skip
    gr.on([box.text.blur, box.text.submit], on_name, [box.text, box.seen], outputs, **asks)
    box.picked.then(on_name, [box.text, box.seen], outputs, **asks)
    config.input(on_config, [box.seen, config, described], outputs, **asks).then(**shows)
    gr.on([box.seen.change, *(one.input for one in others)], **shows)
    return box


def problem_of(dataset: DatasetDescription) -> UserError | None:
    """Why no part of a dataset can be trained on; None if one can."""
    if not dataset.has_access:
        return gated(FIELD, dataset.id, "dataset")
    if dataset.columns and dataset.used is None and not picture_columns(dataset):
        listed = ", ".join(column.name for column in dataset.columns)
        return UserError(
            FIELD, f"{dataset.id} holds no pictures (columns: {listed})", "Choose another dataset."
        )
    return None


def first_pictures(name: str, chosen: tuple[object, ...], token: Token) -> str:
    """Show the first pictures of a part of a dataset.

    Args:
        name: of the dataset.
        chosen: configuration, split, column of pictures, column of captions; None for defaults.
        token: see `memshield.network.Token`.

    Raises:
        UserError: they cannot be read.
    """
    config, split, image, caption = map(_short_text, chosen)
    return preview_view(
        preview(
            name, split or "train", config=config, image_column=image, caption_column=caption,
            token=token,
        )
    )  # fmt: skip


def _dropdown(label: str) -> gr.Dropdown:
    return gr.Dropdown([], label=label, visible=False, interactive=True)


def _dropdowns(dataset: DatasetDescription | None) -> list[Any]:
    """Updates for the dropdowns of the parts; those without a choice are hidden."""
    parts = parts_of(dataset) if dataset is not None else {}
    return [_dropdown_of(parts.get(name)) for name in PARTS]


def _dropdown_of(part: DatasetPart | None) -> Any:
    if part is None:
        return gr.Dropdown([], value=None, visible=False)
    return gr.Dropdown(list(part.options), value=part.value, visible=part.offered)


def _short_text(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) and len(value) <= 500 else None
