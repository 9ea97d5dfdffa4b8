"""The recipe that a choice of training leads to, and its values for the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memshield.families.kinds import FamilyName
from memshield.ui.form.inputs import KINDS, Kind
from memshield.ui.form.recipes import RecipeName, recipe_for, recipes
from memshield.ui.form.strengths import RECOMMENDED_STRENGTH

BASIC = ("strength", "epochs", "rounds", "shards", "budget")
TITLES: dict[Kind, str] = {
    "demo": "Demo: handwritten digits",
    "hub": "A model from the Hub",
    "scratch": "A new small model, from scratch",
}
_RECIPES: dict[Kind, RecipeName] = {
    "demo": "demo",
    "hub": "sd_lora",  # until a model is named, whose family decides
    "scratch": "pixels_from_scratch",
}
_ABOUT_HUB = (
    "Search for a model below: its kind determines the settings. Text-to-image models learn "
    "captioned pictures with a LoRA; pixel models learn without captions, with all of their "
    "weights."
)


def recipe_of(kind: object, family: FamilyName | None = None) -> RecipeName:
    """Choose the recipe.

    Args:
        kind: of training, from the form; anything unknown means the demo.
        family: of the model to fine-tune, if known.
    """
    known: Kind = next((one for one in KINDS if one == kind), "demo")
    if known == "hub" and family is not None:
        return recipe_for(family).name
    return _RECIPES[known]


def about(kind: object, recipe: RecipeName, named: bool) -> str:
    """Describe the choice in a sentence or two.

    Args:
        kind: of training, from the form.
        recipe: that the choice leads to.
        named: whether a model has been named.
    """
    if kind == "hub" and not named:
        return _ABOUT_HUB
    chosen = recipes()[recipe]
    return f"**{chosen.title}.** {chosen.about}" if kind == "hub" else chosen.about


def is_mirrored(chosen: object, recipe: RecipeName) -> bool:
    """Whether training mirrors pictures at random.

    Args:
        chosen: value of `random_flip` in the form; "" for the recipe's.
        recipe: its name.
    """
    if chosen in ("true", "false"):
        return chosen == "true"
    return bool(recipes()[recipe].settings.get("random_flip"))


def defaults(recipe: RecipeName) -> tuple[Any, ...]:
    """The recipe's values for the inputs of `BASIC`."""
    chosen = recipes()[recipe]
    values = chosen.settings
    return (
        chosen.strength,
        values.get("num_train_epochs", 10),
        values.get("num_rounds", 10),
        values.get("num_shards", 4),
        values.get("memorization_budget"),
    )


def change_defaults(values: Sequence[Any], before: RecipeName, after: RecipeName) -> list[Any]:
    """Change the inputs of `BASIC` to another recipe, except those that the visitor has set."""
    return [
        value if value != old and isinstance(value, (int, float)) and abs(value) <= 1e15 else new
        for value, old, new in zip(values, defaults(before), defaults(after), strict=True)
    ]


def strength_info() -> str:
    """Explain the slider."""
    return (
        f"Recommended: {RECOMMENDED_STRENGTH:g}. 0 is plain training. The higher it is, the "
        "less the model trains at noise levels at which it memorizes pictures: at low noise "
        "without captions, at high noise with captions."
    )
