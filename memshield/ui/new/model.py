"""Choosing the model: what it is, whether it can be trained, and the settings that it wants."""

from __future__ import annotations

from typing import Any

import gradio as gr

from memshield.errors import UserError
from memshield.families.facts import PIPELINES
from memshield.hub.catalog.model import ModelDescription, describe_model
from memshield.hub.catalog.search import search_models
from memshield.network import Token, gated
from memshield.ui.new.descriptions import model_view
from memshield.ui.new.family_names import FAMILIES
from memshield.ui.new.model_kinds import recipe_of
from memshield.ui.new.search_box import SearchBox, is_id, model_line, search_box
from memshield.ui.server.server import Server
from memshield.ui.widgets.fields import RAW, Fields
from memshield.ui.widgets.problems import problem_view

FIELD = "model"


def choose_model(server: Server, fields: Fields, kind: gr.Radio, recipe: gr.State) -> SearchBox:
    """Lay it out.

    Args:
        server: see there.
        fields: takes the box.
        kind: what is trained.
        recipe: follows from the model.
    """
    box = search_box(server, fields, FIELD, "Model", search_models, model_line, len(PIPELINES))

    def told(name: str, kind: object, token: gr.OAuthToken | None) -> list[Any]:
        try:
            return look_at(name, kind, server.visitor(token).token)
        except UserError as error:
            found = UserError(FIELD, error.problem, error.remedy)
            return ["", problem_view(found, FIELD), "", gr.skip()]

    def on_name(name: object, seen: str, kind: object, token: gr.OAuthToken | None) -> list[Any]:
        text = name.strip() if isinstance(name, str) else ""
        if not text:
            return ["", "", "", recipe_of(kind)]
        if text == seen or not is_id(text):
            return [gr.skip()] * 4  # told already, or somebody is still searching
        return told(text, kind, token)

    def on_kind(kind: object, name: object, token: gr.OAuthToken | None) -> list[Any]:
        text = name.strip() if isinstance(name, str) else ""
        if kind == "demo" or not is_id(text):
            return [gr.skip(), "", gr.skip(), recipe_of(kind)]
        made = told(text, kind, token)
        return made if isinstance(made[3], str) else [*made[:3], recipe_of(kind)]

    outputs = [box.about, fields.slots[FIELD], box.seen, recipe]
    asks: dict[str, Any] = {**RAW, "show_progress_on": box.about}
    inputs = [box.text, box.seen, kind]
    gr.on([box.text.blur, box.text.submit], on_name, inputs, outputs, **asks)
    box.picked.then(on_name, inputs, outputs, **asks)
    kind.input(on_kind, [kind, box.text], outputs, **asks)
    return box


def look_at(name: str, kind: object, token: Token) -> list[Any]:
    """What is told of a model, its problem, what is told of now, and the recipe for it.

    Raises:
        UserError: it cannot be trained, or the Hub cannot be asked.
    """
    one = describe_model(name, token=token)
    found = problem_of(one, kind)
    seen = "" if found else name
    wrong = problem_view(found, FIELD) if found else ""
    return [model_view(one) if one.has_access else "", wrong, seen, recipe_of(kind, one.family)]


def problem_of(one: ModelDescription, kind: object) -> UserError | None:
    """Why a model cannot be trained as the form says; None where it can."""
    if not one.has_access:
        return gated(FIELD, one.id)
    if kind == "scratch" and one.family != "unconditional":
        return UserError(
            FIELD,
            f"{one.id} is a {FAMILIES[one.family]} model, and only models without prompts are "
            "trained from scratch",
            "Take another, none at all, or fine-tune this one: choose so above.",
        )
    return None
