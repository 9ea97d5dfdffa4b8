"""The tab of a new training: ways to start, model, pictures, settings, plan, start."""

from __future__ import annotations

from typing import Any

import gradio as gr

from memshield.ui.form.inputs import WHERE
from memshield.ui.form.recipes import RecipeName
from memshield.ui.new.cards import Cards
from memshield.ui.new.dataset import choose_dataset
from memshield.ui.new.model import choose_model
from memshield.ui.new.own_pictures import name_folder, upload_pictures
from memshield.ui.new.plan_section import PlanSection
from memshield.ui.new.recipe_choice import BASIC, TITLES, about, change_defaults
from memshield.ui.new.search_box import SEARCH
from memshield.ui.new.settings import advanced_settings, basic_settings
from memshield.ui.new.where_section import WhereSection
from memshield.ui.server.server import Server
from memshield.ui.widgets.fields import QUIET, Fields

PLACES = {
    "hub": "A dataset on the Hub",
    "upload": "Pictures that you upload",
    "folder": "A folder on this computer",
}


def new_tab(server: Server, page: gr.Blocks) -> tuple[gr.State, Cards]:
    """Lay out the tab.

    Args:
        server: the page's server.
        page: resumes showing a measurement when it is loaded.

    Returns:
        The id of the job that the visitor started last, and the cards of the first screen.
    """
    started = gr.State("")
    cards = Cards(server)
    with gr.Column(visible=False, elem_id="form") as form:
        kind, where = _lay_out_form(server, page, started, cards.opened)
    cards.join(form, kind, where, started)
    return started, cards


def _lay_out_form(
    server: Server, page: gr.Blocks, started: gr.State, opened: Any
) -> tuple[gr.Radio, gr.Radio]:
    """Lay out the form, and return the choices of what to train and of where pictures are."""
    recipe, settled = gr.State("demo"), gr.State("demo")
    fields = Fields("training")
    gr.Markdown("## What to train")
    kind = fields.add("kind", "What to train", lambda: gr.Radio(
        [(title, name) for name, title in TITLES.items()], value="demo",
        label="What to train", show_label=False))  # fmt: skip
    recipe_about = gr.Markdown(about("demo", "demo", False), elem_id="about-kind")
    with gr.Column(visible=False) as choosing:
        # First: a listener waits for the answers of those before it, and the model's asks the Hub.
        kind.change(lambda one: gr.Column(visible=one != "demo"), kind, choosing, **QUIET)
        model = choose_model(server, fields, kind, recipe)
        gr.Markdown("## Pictures")
        open_places = [one for one in WHERE if one != "folder" or not server.deployment.on_space]
        where = fields.add("where", "Pictures", lambda: gr.Radio(
            [(PLACES[one], one) for one in open_places], value="hub", label="Pictures",
            show_label=False))  # fmt: skip
        columns = {}
        with gr.Column() as columns["hub"]:
            dataset = choose_dataset(server, fields)
        own = gr.Column(visible=False)
        folder = gr.Column(visible=False)
    gr.Markdown("## Settings")
    basic, more = basic_settings(fields, "demo", settled)
    with gr.Accordion("All other settings", open=False) as rest:
        advanced = advanced_settings(fields, "demo")
    with own:
        upload = upload_pictures(server, fields, recipe, where)
    if not server.deployment.on_space:
        with folder:
            name_folder(server, fields, recipe)
    where_to_run = WhereSection(server, page, fields)
    columns |= {"upload": own, "folder": folder}

    kind.change(lambda one: gr.Textbox(placeholder=_placeholder(one)), kind, model.text, **QUIET)
    where.change(
        lambda one: [gr.Column(visible=one == name) for name in columns], where,
        list(columns.values()), **QUIET,
    )  # fmt: skip

    def on_recipe(after: RecipeName, before: RecipeName, *values: Any) -> list[Any]:
        new = change_defaults(values, before, after)
        return [after, gr.Slider(value=new[0]), *new[1:]]

    # Its only event: a second call would get the inputs as they were before the first.
    recipe.change(
        on_recipe, [recipe, settled, *basic], [settled, *basic],
        **QUIET,
    )  # fmt: skip
    gr.on(
        [recipe.change, kind.change, model.seen.change],
        lambda kind, recipe, seen: about(kind, recipe, bool(seen)),
        [kind, recipe, model.seen], recipe_about, **QUIET,
    )  # fmt: skip
    folds = {more: {*BASIC, "resolution", "hub_model_id", "confirm"}, rest: set(advanced)}
    changed = [opened, settled.change, model.seen.change, dataset.seen.change, upload.change]
    cost = where_to_run.cost
    PlanSection(server, page, fields, recipe, upload, folds, started, cost, changed)
    return kind, where


def _placeholder(kind: object) -> str:
    if kind == "scratch":
        return "optional: a model whose architecture is used, without its weights"
    return SEARCH
