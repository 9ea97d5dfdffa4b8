"""The strength in named steps."""

from __future__ import annotations

import pytest

from memshield.ui.form.recipes import RecipeName, recipes
from memshield.ui.form.strengths import RECOMMENDED_STRENGTH, STRENGTHS
from memshield.ui.new.strength import CUSTOM, meaning_of, name_of
from tests.ui.markup import text_of


def test_every_recipe_begins_with_what_is_recommended() -> None:
    assert STRENGTHS["low"] < RECOMMENDED_STRENGTH < STRENGTHS["high"]
    assert {name_of(recipe.strength) for recipe in recipes().values()} == {"recommended"}


@pytest.mark.parametrize(
    ("strength", "name", "recipe", "words"),
    [
        (0.25, "low", "pixels", "17 % are at low noise"),
        (0.25, "low", "flux_lora", "30 % are at high noise"),
        (0.5, "recommended", "demo", "10 % are at low noise"),
        (0.5, "recommended", "sd_lora", "20 % are at high noise"),
        (0.75, "high", "pixels", "5.8 % are at low noise"),
        (0.6, CUSTOM, "pixels", "8.0 % are at low noise"),
        (0, CUSTOM, "sd_lora", "without mitigation"),
        (7, CUSTOM, "pixels", "As set below"),
        (None, CUSTOM, "pixels", "As set below"),
        ("0.5", CUSTOM, "pixels", "As set below"),
    ],
)
def test_a_strength_has_a_name_and_says_what_it_sets(
    strength: object, name: str, recipe: RecipeName, words: str
) -> None:
    assert name_of(strength) == name
    said = text_of(meaning_of(strength, recipe))
    assert words in said
    # How many those are follows from the noise schedule, which differs between models.
    assert ("plain training has more." in said) == ("% are" in words)
