"""Fields are checked as they are left, each by itself and in words."""

from __future__ import annotations

from typing import Any

import pytest

from memshield.ui.form.advanced import advanced_fields, field_of_input, problem_of
from memshield.ui.form.recipes import recipes

RECIPE = next(iter(recipes().values()))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("epochs", 0, "must be at least 1, is 0"),
        ("epochs", 1.5, "must be a whole number, is 1.5"),
        ("epochs", "", None),
        ("epochs", 3, None),
        ("shards", "many", "must be a whole number, is 'many'"),
        ("budget", 2, "must be at most 1, is 2"),
        ("budget", None, None),
        ("resolution", "64", None),
        ("resolution", "big", "must be a whole number, is 'big'"),
    ],
)
def test_basic_inputs(name: str, value: Any, words: str | None) -> None:
    found = problem_of(field_of_input(name, RECIPE), value)
    assert (found.problem if found else None) == words


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("learning_rate", "-1", "must be more than 0, is '-1'"),
        ("learning_rate", "1e-4", None),
        ("adam_beta1", "1.5", "must be less than 1, is '1.5'"),
        ("train_batch_size", "0", "must be at least 1, is '0'"),
        ("held_out_fraction", "2", "must be at most 0.9, is '2'"),
    ],
)
def test_advanced_inputs(name: str, value: Any, words: str | None) -> None:
    field = next(field for field in advanced_fields(RECIPE) if field.name == name)
    found = problem_of(field, value)
    assert (found.problem if found else None) == words


def test_no_message_speaks_as_a_validator_does() -> None:
    for field in advanced_fields(RECIPE):
        odd: list[Any] = ["-1", "x", "", "1e400", [], {}, None, True, "\0", 10**400]
        for value in odd:
            found = problem_of(field, value)
            if found is not None:
                assert "input" not in found.problem.lower().replace("inputs", "")
                assert "valid" not in found.problem
                assert "parse" not in found.problem
