"""A new training: choose a model and pictures, set it up, see what will happen, start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from memshield.errors import UserError, UserErrors
from memshield.hub.catalog.dataset import describe_dataset
from memshield.hub.catalog.found import DatasetFound, ModelFound, Page
from memshield.hub.catalog.license import License
from memshield.hub.catalog.model import describe_model
from memshield.hub.catalog.preview import preview
from memshield.hub.catalog.search import search_datasets, search_models
from memshield.network import Token
from memshield.ui.planning import Plan, plan
from memshield.ui.server import Server
from memshield.ui.setup.advanced import Field, advanced_fields, parse_advanced
from memshield.ui.setup.choices import Choices, input_of, on_this_machine
from memshield.ui.setup.recipes import Recipe, recipes
from memshield.ui.setup.uploads import accept_upload, find_upload
from memshield.ui.views.described import dataset_view, model_view, preview_view
from memshield.ui.views.found import FAMILIES
from memshield.ui.views.problems import empty_view, problems_view, status_view

LABELS = {
    "model": "Model",
    "dataset": "Dataset",
    "folder": "Your own pictures",
    "epochs": "Epochs",
    "rounds": "Rounds",
    "shards": "Shards",
    "strength": "Strength of the mitigation",
    "budget": "Memorization budget",
    "hub_model_id": "Publish as",
    "sign_in": "Sign in",
}
_FOUND = 20


def train_tab(server: Server) -> gr.State:
    """Lay the tab out.

    Returns:
        The id of the job that was started last by this visitor.
    """
    started = gr.State("")
    upload = gr.State("")
    names = [(recipe.title, name) for name, recipe in recipes().items()]
    gr.Markdown("## What to train")
    recipe = gr.Radio(names, value="demo", label="Kind of training")
    about = gr.Markdown(_about("demo"))
    with gr.Column(visible=False) as choosing:
        model = _search_box("Model", "owner/name, or words to search for", "model")
        model_found, model_about = gr.Radio([], label="Models found", visible=False), gr.HTML()
        gr.Markdown("## Pictures")
        with gr.Tabs():
            with gr.Tab("A dataset on the Hub"):
                dataset = _search_box("Dataset", "owner/name, or words to search for", "dataset")
                found = gr.Radio([], label="Datasets found", visible=False)
                dataset_about = gr.HTML()
            with gr.Tab("Your own pictures"):
                files = gr.File(
                    label="Pictures, or a zip of them; with metadata.csv for captions",
                    file_count="multiple",
                )
                uploaded = gr.HTML()
    gr.Markdown("## Settings")
    basic = _basic()
    with gr.Accordion("All other settings", open=False):
        fields, inputs = _advanced(recipes()["demo"])
    gr.Markdown("## What will happen")
    problems, numbers = gr.HTML(elem_id="problems"), gr.Markdown(elem_id="plan")
    with gr.Accordion("The settings as a file, to run anywhere", open=False):
        yaml = gr.Code(language="yaml", label="config.yaml", interactive=False)
        gr.Markdown("`accelerate launch -m memshield.train --config config.yaml`")
    with gr.Row():
        check = gr.Button("See what will happen")
        start = gr.Button("Start training", variant="primary")

    everything = [recipe, model[0], dataset[0], upload, *basic, *inputs]

    def planned(values: Sequence[Any], token: gr.OAuthToken | None) -> tuple[Plan, Choices]:
        visitor = server.visitor(token)
        choices = _choices(values, fields)
        rows = None
        if values[3]:
            home = server.jobs.folders.uploads(visitor.require_owner())
            folder = find_upload(home, values[3])
            choices = _with_upload(choices, folder)
            rows = sum(1 for path in folder.iterdir() if not path.name.startswith("metadata."))
        return plan(choices, server.machine, visitor.token, rows), choices

    def on_check(given: dict[Any, Any], token: gr.OAuthToken | None) -> tuple[str, str, str]:
        try:
            made, choices = planned([given[one] for one in everything], token)
        except UserError as error:
            return problems_view(error, LABELS), "", ""
        return _problems(made, choices), _lines(made.lines), made.yaml

    def on_start(given: dict[Any, Any], token: gr.OAuthToken | None) -> tuple[str, str, str, Any]:
        try:
            owner = server.owner(token)
            made, choices = planned([given[one] for one in everything], token)
            if made.errors:
                return _problems(made, choices), _lines(made.lines), made.yaml, gr.skip()
            job = server.jobs.submit(
                owner, on_this_machine(made.values), needs_token=made.needs_token
            )
        except UserError as error:
            return problems_view(error, LABELS), "", "", gr.skip()
        return "", _lines(made.lines), made.yaml, job.id

    recipe.change(
        lambda name: (_about(name), gr.Column(visible=name != "demo"), *_defaults(name)),
        recipe, [about, choosing, *basic[:5]], api_visibility="private",
    )  # fmt: skip
    _wire(
        server, model, model_found, model_about, search_models, _model_line,
        lambda name, token: model_view(describe_model(name, token=token)),
    )  # fmt: skip
    _wire(server, dataset, found, dataset_about, search_datasets, _dataset_line, _dataset_about)

    def on_upload(paths: list[str] | None, token: gr.OAuthToken | None) -> tuple[str, str]:
        if not paths:
            return "", ""
        try:
            home = server.jobs.folders.uploads(server.owner(token))
            folder = accept_upload([Path(path) for path in paths], home)
        except UserError as error:
            return "", problems_view(error, LABELS)
        return folder.name, status_view(f"{len(list(folder.iterdir()))} files taken.")

    files.change(on_upload, files, [upload, uploaded], api_visibility="private")
    shown = [problems, numbers, yaml]
    check.click(on_check, set(everything), shown, api_visibility="private")
    start.click(on_start, set(everything), [*shown, started], api_visibility="private")
    return started


def _search_box(label: str, placeholder: str, id: str) -> tuple[gr.Textbox, gr.Button]:
    with gr.Row(equal_height=True):
        box = gr.Textbox(label=label, placeholder=placeholder, scale=4, elem_id=id)
        button = gr.Button(f"Search {label.lower()}s", scale=1)
    return box, button


def _basic() -> list[Any]:
    strength, epochs, rounds, shards, budget = _defaults("demo")
    made: list[Any] = [
        gr.Slider(
            0, 1, strength, step=0.05, label=LABELS["strength"],
            info="0 is plain training; the recommended value is set. More skips more of what a "
            "copy knows too well.",
        ),
    ]  # fmt: skip
    with gr.Row():
        made += [
            # No bounds here: gradio answers what lies beyond with a bare "Error"; the settings'
            # own bounds are told in words.
            gr.Number(epochs, label=LABELS["epochs"], precision=0),
            gr.Number(rounds, label=LABELS["rounds"], precision=0),
            gr.Number(shards, label=LABELS["shards"], precision=0),
        ]
    made.append(
        gr.Number(
            budget, label=LABELS["budget"],
            info="Audit as it goes, and stop when more than this share of generated pictures is "
            "given back beyond chance; 0.02 is 2 %. Empty: no stop.",
        )
    )  # fmt: skip
    made.append(
        gr.Textbox(
            label=LABELS["hub_model_id"], placeholder="owner/name; empty: not yet",
            info="To a private repository, when training is done.",
        )
    )  # fmt: skip
    return made


def _defaults(name: str) -> tuple[Any, Any, Any, Any, Any]:
    recipe = recipes()[name]  # type: ignore[index]
    values = recipe.settings
    return (
        values.get("skip_threshold", recipe.strength),
        values.get("num_train_epochs", 10),
        values.get("num_rounds", 10),
        values.get("num_shards", 4),
        values.get("memorization_budget"),
    )


def _about(name: str) -> str:
    return recipes()[name].about  # type: ignore[index]


def _advanced(recipe: Recipe) -> tuple[list[Field], list[Any]]:
    """An input a setting; what is left empty is the recipe's or the model's own."""
    fields = advanced_fields(recipe)
    inputs: list[Any] = []
    groups = dict.fromkeys(field.group for field in fields)
    for group in groups:
        gr.Markdown(f"**{group}**")
        for field in (one for one in fields if one.group == group):
            inputs.append(_input(field))
    ordered = [field for group in groups for field in fields if field.group == group]
    return ordered, inputs


def _input(field: Field) -> Any:
    label, info = field.name.replace("_", " "), field.description
    if field.kind in ("bool", "choice"):
        options = field.options or ("true", "false")
        return gr.Dropdown(["", *options], value="", label=label, info=info)
    return gr.Textbox(value="", placeholder="as recommended", label=label, info=info)


def _choices(values: Sequence[Any], fields: Sequence[Field]) -> Choices:
    recipe, model, dataset, _, strength, epochs, rounds, shards, budget, publish = values[:10]
    given = {
        field.name: value
        for field, value in zip(fields, values[10:], strict=True)
        if value not in ("", None)
    }
    chosen = recipes()[recipe]
    return Choices(
        recipe=recipe,
        model=(model or "").strip() or None if recipe != "demo" else None,
        dataset=(dataset or "").strip() or None if recipe != "demo" else None,
        strength=strength,
        epochs=None if epochs is None else int(epochs),
        rounds=None if rounds is None else int(rounds),
        shards=None if shards is None else int(shards),
        budget=budget,
        never_stop=budget is None,
        hub_model_id=(publish or "").strip() or None,
        advanced=parse_advanced(given, chosen),
    )


def _with_upload(choices: Choices, folder: Path) -> Choices:
    if choices.recipe == "demo":
        return choices
    return replace(choices, dataset=None, folder=folder, uploaded=True)


def _problems(made: Plan, choices: Choices) -> str:
    errors = [
        UserError(input_of(error.field, choices), error.problem, error.remedy)
        for error in UserErrors(list(made.errors)).errors
    ]
    return problems_view(errors, LABELS)


def _lines(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _model_line(one: ModelFound) -> str:
    return _line(one.id, FAMILIES[one.family], one.license, one.gated)


def _dataset_line(one: DatasetFound) -> str:
    rows = f"{one.rows:,} rows" if one.rows else one.size_category
    return _line(one.id, rows, one.license, one.gated)


def _line(id: str, size: str | None, license: License | None, gated: bool) -> str:
    """What a list says of a repository."""
    parts = (id, size, str(license) if license else "license not said", gated and "gated")
    return " \u00b7 ".join(part for part in parts if part)


def _dataset_about(name: str, token: Token) -> str:
    shown = dataset_view(describe_dataset(name, token=token))
    try:
        return shown + preview_view(preview(name, token=token))
    except UserError as error:
        return shown + problems_view(error, LABELS)


def _wire(
    server: Server,
    box: tuple[gr.Textbox, gr.Button],
    found: gr.Radio,
    about: gr.HTML,
    search: Callable[..., Page[Any]],
    line: Callable[[Any], str],
    describe: Callable[[str, Token], str],
) -> None:
    """Let a box search, its list choose, and what was chosen be described."""
    text, button = box

    def on_search(words: str, token: gr.OAuthToken | None) -> tuple[Any, str]:
        try:
            page = search(words or "", token=server.visitor(token).token, limit=_FOUND)
        except UserError as error:
            return gr.Radio(visible=False), problems_view(error, LABELS)
        named = [(line(one), one.id) for one in page.items]
        hint = "" if named else empty_view("Nothing found", "Try fewer words.")
        return gr.Radio(named, value=None, visible=bool(named)), hint

    def on_choose(name: str | None, token: gr.OAuthToken | None) -> tuple[Any, str]:
        if not name:
            return gr.skip(), ""
        try:
            return name, describe(name, server.visitor(token).token)
        except UserError as error:
            return name, problems_view(error, LABELS)

    button.click(on_search, text, [found, about], api_visibility="private")
    text.submit(on_search, text, [found, about], api_visibility="private")
    found.input(on_choose, found, [text, about], api_visibility="private")
