"""The strength of the mitigation in three named steps; any other value is custom."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from memshield.audit.report import percent
from memshield.ui.form.recipes import STRENGTHS, share_of
from memshield.ui.widgets.fields import QUIET
from memshield.ui.widgets.problems import status_view

CUSTOM = "custom"
_MEANINGS = {
    "low": "Close to plain training: it learns fine detail sooner, and gives more of the pictures "
    "back.",
    "recommended": "The best that was measured with models without captions: much less is given "
    "back, at little cost. A small model with captions gave more back: set a budget there.",
    "high": "Least is given back. Fine detail takes longer to learn.",
}
_ZERO = "Plain training, without mitigation."
_CUSTOM = "As set below."


def name_of(strength: object) -> str:
    """The name of a strength."""
    return next((name for name, value in STRENGTHS.items() if value == strength), CUSTOM)


def meaning_of(strength: object) -> str:
    """What a strength means, and what it sets."""
    if isinstance(strength, bool) or not isinstance(strength, (int, float)):
        return status_view(_CUSTOM)
    if strength == 0:
        return status_view(_ZERO)
    share = share_of(float(strength)) if 0 < strength <= 1 else None
    if share is None:
        return status_view(_CUSTOM)
    words = _MEANINGS.get(name_of(strength), _CUSTOM)
    return status_view(
        f"{words} Of all training draws, {percent(share)} are at low noise, where pictures are "
        "memorized; plain training has 30 %."
    )


def strength_steps(strength: float) -> tuple[gr.Radio, gr.HTML]:
    """Lay out the steps.

    Args:
        strength: at first.
    """
    titles = {"low": "Low", "recommended": "Recommended", "high": "High", CUSTOM: "Custom"}
    steps = gr.Radio(
        [(title, name) for name, title in titles.items()], value=name_of(strength),
        label="Strength", elem_id="strength-steps",
    )  # fmt: skip
    return steps, gr.HTML(meaning_of(strength), elem_id="strength-meaning")


def join(steps: gr.Radio, meaning: gr.HTML, slider: gr.Slider, more: gr.Accordion) -> None:
    """Keep steps and slider alike, and open the settings for a custom strength.

    Args:
        steps, meaning: from `strength_steps`.
        slider: holds the value.
        more: holds the slider, folded.
    """
    values = json.dumps(dict(STRENGTHS))
    steps.input(
        None, [steps, slider], slider, js=f"(name, now) => ({values})[name] ?? now", **QUIET
    )
    steps.input(_opens, steps, more, **QUIET)
    slider.change(_described, slider, [steps, meaning], queue=False, **QUIET)


def _opens(name: object) -> Any:
    return gr.Accordion(open=True) if name == CUSTOM else gr.skip()


def _described(strength: object) -> list[Any]:
    return [name_of(strength), meaning_of(strength)]
