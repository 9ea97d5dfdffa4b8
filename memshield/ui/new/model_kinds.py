"""What is trained, and the settings that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memshield.families.facts import FamilyName
from memshield.ui.form.inputs import KINDS, Kind
from memshield.ui.form.recipes import RECOMMENDED_STRENGTH, RecipeName, recipe_for, recipes

TITLES: dict[Kind, str] = {
    "demo": "Demo: handwritten digits",
    "hub": "A model from the Hub",
    "scratch": "A new small model, from scratch",
}
OF_KIND: dict[Kind, RecipeName] = {
    "demo": "demo",
    "hub": "sd_lora",  # until a model is named, whose family then says
    "scratch": "pixels_from_scratch",
}
_ABOUT_HUB = (
    "Search for a model below: the settings follow from what it is. Stable Diffusion and Stable "
    "Diffusion XL learn captioned pictures by a LoRA; pixel models, without captions, by all of "
    "their weights."
)


def recipe_of(kind: object, family: FamilyName | None = None) -> RecipeName:
    """The recipe of what is trained.

    Args:
        kind: as the form says; the demo where it is none.
        family: of the model that is fine-tuned, where it is known.
    """
    known: Kind = next((one for one in KINDS if one == kind), "demo")
    if known == "hub" and family is not None:
        return recipe_for(family).name
    return OF_KIND[known]


def about(kind: object, recipe: RecipeName, named: bool) -> str:
    """What it is for, in a sentence or two.

    Args:
        kind: as the form says.
        recipe: its own.
        named: whether the recipe follows from a model.
    """
    if kind == "hub" and not named:
        return _ABOUT_HUB
    chosen = recipes()[recipe]
    return f"**{chosen.title}.** {chosen.about}" if kind == "hub" else chosen.about


BASIC = ("strength", "epochs", "rounds", "shards", "budget")


def defaults(recipe: RecipeName) -> tuple[Any, ...]:
    """What stands in the inputs of `BASIC`."""
    chosen = recipes()[recipe]
    values = chosen.settings
    return (
        chosen.strength,
        values.get("num_train_epochs", 10),
        values.get("num_rounds", 10),
        values.get("num_shards", 4),
        values.get("memorization_budget"),
    )


def moved(values: Sequence[Any], before: RecipeName, after: RecipeName) -> list[Any]:
    """The inputs of `BASIC` for another recipe; what a person has set stays."""
    return [
        value if value != old and isinstance(value, (int, float)) and abs(value) <= 1e15 else new
        for value, old, new in zip(values, defaults(before), defaults(after), strict=True)
    ]


def strength_info() -> str:
    """What the slider means."""
    return (
        f"Recommended: {RECOMMENDED_STRENGTH:g}. 0 is plain training. Above 0, the model learns "
        "less often at low noise, where it would learn pictures by heart, and more often at high "
        "noise, where quality is learned: higher moves more."
    )
