"""Chooses the model: describes it, reports why it cannot be trained, and picks its recipe."""

from __future__ import annotations

from typing import Any

import gradio as gr

from memshield.errors import UserError
from memshield.families.kinds import PIPELINES
from memshield.hub.catalog.model import ModelDescription, describe_model
from memshield.hub.catalog.search import search_models
from memshield.network import Token, gated
from memshield.ui.errors import on_error
from memshield.ui.new.descriptions import FAMILY_NAMES, model_view
from memshield.ui.new.recipe_choice import recipe_of
from memshield.ui.new.search_box import SearchBox, is_id, model_line, search_box
from memshield.ui.server.server import Server
from memshield.ui.widgets.fields import RAW, Fields
from memshield.ui.widgets.problems import problem_view

FIELD = "model"


def choose_model(server: Server, fields: Fields, kind: gr.Radio, recipe: gr.State) -> SearchBox:
    """Lay out the choice of a model.

    Args:
        server: the page's server.
        fields: takes the search box.
        kind: of training.
        recipe: takes the recipe of the model.
    """
    box = search_box(server, fields, FIELD, "Model", search_models, model_line, len(PIPELINES))

    @on_error(lambda error: ["", problem_view(error), "", gr.skip()])
    def inspect(name: str, kind: object, token: gr.OAuthToken | None) -> list[Any]:
        return inspect_model(name, kind, server.visitor(token).token)

    def on_name(name: object, seen: str, kind: object, token: gr.OAuthToken | None) -> list[Any]:
        text = name.strip() if isinstance(name, str) else ""
        if not text:
            return ["", "", "", recipe_of(kind)]
        if text == seen or not is_id(text):
            return [gr.skip()] * 4  # described already, or still being typed
        return inspect(text, kind, token)

    def on_kind(kind: object, name: object, token: gr.OAuthToken | None) -> list[Any]:
        text = name.strip() if isinstance(name, str) else ""
        if kind == "demo" or not is_id(text):
            # With a model from the Hub, the problem may be that of a name typed since.
            return [gr.skip(), gr.skip() if kind == "hub" else "", gr.skip(), recipe_of(kind)]
        made = inspect(text, kind, token)
        return made if isinstance(made[3], str) else [*made[:3], recipe_of(kind)]

    outputs = [box.about, fields.slots[FIELD], box.seen, recipe]
    asks: dict[str, Any] = {**RAW, "show_progress_on": box.about}
    inputs = [box.text, box.seen, kind]
    gr.on([box.text.blur, box.text.submit], on_name, inputs, outputs, **asks)
    box.picked.then(on_name, inputs, outputs, **asks)
    kind.change(on_kind, [kind, box.text], outputs, **asks)
    return box


def inspect_model(name: str, kind: object, token: Token) -> list[Any]:
    """Return a model's description, its problem, its name if it can be used, and its recipe.

    Raises:
        UserError: it cannot be trained, or the Hub cannot be asked.
    """
    model = describe_model(name, token=token)
    problem = problem_of(model, kind)
    about = model_view(model) if model.has_access else ""
    recipe = recipe_of(kind, model.family)
    if problem is not None:
        return [about, problem_view(problem), "", recipe]
    return [about, "", name, recipe]


def problem_of(model: ModelDescription, kind: object) -> UserError | None:
    """Why the model does not suit the kind of training; None if it does."""
    if not model.has_access:
        return gated(FIELD, model.id)
    if kind == "scratch" and model.family != "unconditional":
        return UserError(
            FIELD,
            f"{model.id} is a {FAMILY_NAMES[model.family]} model, and only models without prompts "
            "are trained from scratch",
            "Choose another model or none, or choose above to fine-tune this one.",
        )
    return None
