"""The rules that settings break, in words for a person instead of a validator's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_RULES = {
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be a text",
    "string_too_short": "must not be empty",
    "string_too_long": "must be shorter",
    "string_pattern_mismatch": "is not written as it should be",
    "list_type": "must be a list",
    "too_short": "must not be empty",
}
_LONGEST = 80


def words_of_rule(detail: Mapping[str, Any]) -> str:
    """What a value must be, and what it is.

    Args:
        detail: one of a pydantic ValidationError's errors; a rule that is not known here keeps the
            validator's message.
    """
    rule = _RULES.get(detail["type"])
    if rule is None:
        rule = detail["msg"][0].lower() + detail["msg"][1:]
    else:
        rule = rule.format(**{name: _plain(value) for name, value in detail.get("ctx", {}).items()})
    value = repr(detail["input"])
    shown = value if len(value) <= _LONGEST else f"{value[: _LONGEST - 3]}..."
    return f"{rule}, is {shown}"


def _plain(value: object) -> object:
    return f"{value:g}" if isinstance(value, float) else value
