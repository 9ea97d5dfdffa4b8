"""The strength of the mitigation in three named steps; any other value is custom."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from memshield.audit.report import percent
from memshield.ui.form.recipes import RecipeName, recipes
from memshield.ui.form.strengths import STRENGTHS, drawn_of
from memshield.ui.widgets.fields import QUIET
from memshield.ui.widgets.problems import status_view

CUSTOM = "custom"
_MEANINGS = {
    "low": "Closer to plain training: it gives more of the pictures back.",
    "recommended": "What was measured, with small models: much less is given back, at little cost.",
    "high": "Least is given back. It takes longer to learn.",
}
_DRAWN = {
    False: "at low noise, where pictures are memorized; plain training has more",
    True: "at high noise, where captioned pictures are memorized; plain training has more",
}
_ZERO = "Plain training, without mitigation."
_CUSTOM = "As set below."


def name_of(strength: object) -> str:
    """The name of a strength."""
    return next((name for name, value in STRENGTHS.items() if value == strength), CUSTOM)


def meaning_of(strength: object, recipe: RecipeName) -> str:
    """What a strength means, and what it sets.

    Args:
        strength: from the form.
        recipe: whose models learn from captions, or do not.
    """
    if isinstance(strength, bool) or not isinstance(strength, (int, float)):
        return status_view(_CUSTOM)
    if strength == 0:
        return status_view(_ZERO)
    if not 0 < strength <= 1:
        return status_view(_CUSTOM)
    captions = recipes()[recipe].captions
    words = _MEANINGS.get(name_of(strength), _CUSTOM)
    drawn = percent(drawn_of(float(strength), captions))
    return status_view(f"{words} Of all training draws, {drawn} are {_DRAWN[captions]}.")


def strength_steps(strength: float, recipe: RecipeName) -> tuple[gr.Radio, gr.HTML]:
    """Lay out the steps.

    Args:
        strength: at first.
        recipe: at first.
    """
    titles = {"low": "Low", "recommended": "Recommended", "high": "High", CUSTOM: "Custom"}
    steps = gr.Radio(
        [(title, name) for name, title in titles.items()], value=name_of(strength),
        label="Strength", elem_id="strength-steps",
    )  # fmt: skip
    return steps, gr.HTML(meaning_of(strength, recipe), elem_id="strength-meaning")


def join(
    steps: gr.Radio, meaning: gr.HTML, slider: gr.Slider, more: gr.Accordion, recipe: gr.State
) -> None:
    """Keep steps and slider alike, and open the settings for a custom strength.

    Args:
        steps, meaning: from `strength_steps`.
        slider: holds the value.
        more: holds the slider, folded.
        recipe: name of the recipe whose values the inputs have.
    """
    values = json.dumps(dict(STRENGTHS))
    steps.input(
        None, [steps, slider], slider, js=f"(name, now) => ({values})[name] ?? now", **QUIET
    )
    steps.input(_opens, steps, more, **QUIET)
    gr.on(
        [slider.change, recipe.change], _described, [slider, recipe], [steps, meaning],
        queue=False, **QUIET,
    )  # fmt: skip


def _opens(name: object) -> Any:
    return gr.Accordion(open=True) if name == CUSTOM else gr.skip()


def _described(strength: object, recipe: RecipeName) -> list[Any]:
    return [name_of(strength), meaning_of(strength, recipe)]
