"""The strength in named steps."""

from __future__ import annotations

import pytest

from memshield.ui.form.recipes import RECOMMENDED_STRENGTH, STRENGTHS, recipes
from memshield.ui.new.strength import CUSTOM, meaning_of, name_of
from tests.ui.markup import text_of


def test_every_recipe_begins_with_what_is_recommended() -> None:
    assert STRENGTHS["low"] < RECOMMENDED_STRENGTH < STRENGTHS["high"]
    assert {name_of(recipe.strength) for recipe in recipes().values()} == {"recommended"}


@pytest.mark.parametrize(
    ("strength", "name", "words"),
    [
        (0.25, "low", "17 % are at low noise"),
        (0.5, "recommended", "10 % are at low noise"),
        (0.75, "high", "5.8 % are at low noise"),
        (0.6, CUSTOM, "8.0 % are at low noise"),
        (0, CUSTOM, "without mitigation"),
        (7, CUSTOM, "As set below"),
        (None, CUSTOM, "As set below"),
        ("0.5", CUSTOM, "As set below"),
    ],
)
def test_a_strength_has_a_name_and_says_what_it_sets(
    strength: object, name: str, words: str
) -> None:
    assert name_of(strength) == name
    assert words in text_of(meaning_of(strength))
