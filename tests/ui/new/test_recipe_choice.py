"""What the form takes from the recipe."""

from __future__ import annotations

import pytest

from memshield.ui.form.recipes import RecipeName
from memshield.ui.new.recipe_choice import is_mirrored


@pytest.mark.parametrize(
    ("chosen", "recipe", "mirrored"),
    [
        ("", "sdxl_lora", True),
        ("", "demo", False),
        ("true", "demo", True),
        ("false", "sdxl_lora", False),
        (None, "sdxl_lora", True),
        (["true"], "demo", False),
    ],
)
def test_the_recipe_mirrors_unless_the_form_says_otherwise(
    chosen: object, recipe: RecipeName, mirrored: bool
) -> None:
    assert is_mirrored(chosen, recipe) is mirrored
