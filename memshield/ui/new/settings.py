"""The inputs of the settings: a few basic ones, and all others below them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gradio as gr

from memshield.errors import UserError
from memshield.hub.consent import CONSENTS
from memshield.ui.form.advanced import Field, advanced_fields, field_of_input, problem_of
from memshield.ui.form.recipes import RecipeName, recipes
from memshield.ui.new.recipe_choice import BASIC, defaults, strength_info
from memshield.ui.new.strength import join, strength_steps
from memshield.ui.widgets.fields import Fields

RECOMMENDED = "as recommended"


def basic_settings(
    fields: Fields, recipe: RecipeName, settled: gr.State
) -> tuple[list[Any], gr.Accordion]:
    """Lay out the strength, and below it, folded, the other basic settings.

    Args:
        fields: takes the inputs.
        recipe: gives the defaults.
        settled: name of the recipe whose defaults the inputs have by now.

    Returns:
        The inputs of `BASIC`, and what holds them but for the strength's steps.
    """
    values = dict(zip(BASIC, defaults(recipe), strict=True))
    steps, meaning = strength_steps(values["strength"], recipe)
    with gr.Accordion("More settings", open=False, elem_id="more-settings") as more:
        slider = _basic_inputs(fields, recipe, values)
    join(steps, meaning, slider, more, settled)
    return [fields.inputs[name] for name in BASIC], more


def _basic_inputs(fields: Fields, recipe: RecipeName, values: dict[str, Any]) -> gr.Slider:
    def check(name: str) -> Callable[[Any], UserError | None]:
        return partial(problem_of, field_of_input(name, recipes()[recipe]))

    with fields.place("strength", "Strength of the mitigation"):
        slider = gr.Slider(
            0, 1, values["strength"], step=0.05, label="Strength of the mitigation",
            info=strength_info(), buttons=[], elem_id="strength",
        )  # fmt: skip
    fields.keep("strength", slider)
    with gr.Row():
        for name, label in (("epochs", "Epochs"), ("rounds", "Rounds"), ("shards", "Shards")):
            # No bounds here: the schema checks them, and reports errors in words.
            make = partial(gr.Number, values[name], label=label, step=1)
            fields.add(name, label, make, check(name))
    with gr.Row():
        fields.add("budget", "Memorization budget", lambda: gr.Number(
            values["budget"], label="Memorization budget", step=0.01,
            info="Audit during training, and stop once more than this share of generated pictures "
            "is given back beyond chance; 0.02 is 2 %. Empty: never stop."),
            check("budget"))  # fmt: skip
        fields.add("resolution", "Resolution", lambda: gr.Textbox(
            label="Resolution", max_length=40, placeholder="the model's own",
            info="Side of the pictures in pixels. Empty: the model's own."),
            check("resolution"))  # fmt: skip
    fields.add("hub_model_id", "Publish as", lambda: gr.Textbox(
        label="Publish as", placeholder="owner/name; empty: not yet", max_length=500,
        info="To a private repository, after training."))  # fmt: skip
    # Of a private repository no other warning can apply.
    fields.add("confirm", "Publish all the same", lambda: gr.CheckboxGroup(
        [(CONSENTS["license"].asked, "license")], label="Publish all the same", visible=False,
    ))  # fmt: skip
    return slider


def advanced_settings(fields: Fields, recipe: RecipeName) -> list[str]:
    """Lay out an input for every other setting; empty means the recipe's or the model's own.

    Args:
        fields: takes the inputs.
        recipe: gives the defaults.

    Returns:
        Their names.
    """
    listed = advanced_fields(recipes()[recipe])
    for group in dict.fromkeys(field.group for field in listed):
        gr.Markdown(f"**{group}**")
        with gr.Row():
            for field in (one for one in listed if one.group == group):
                label = field.name.replace("_", " ")
                check = partial(problem_of, field) if field.kind not in ("bool", "choice") else None
                make = partial(_input, field, label)
                fields.add(field.name, label, make, check, min_width=300)
    return [field.name for field in listed]


def _input(field: Field, label: str) -> Any:
    info = field.description
    if field.kind in ("bool", "choice"):
        options = field.options or ("true", "false")
        choices = [(RECOMMENDED, ""), *((one, one) for one in options)]
        return gr.Dropdown(choices, value="", label=label, info=info)
    return gr.Textbox(
        value="", placeholder=RECOMMENDED, label=label, info=info,
        lines=3 if field.kind == "list" else 1, max_length=None if field.kind == "list" else 2000,
    )  # fmt: skip
