"""Parses what visitors type into the inputs beside a run."""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from memshield.errors import UserError

_LONGEST = 40
_MOST_LINES, _LONGEST_LINE, _DEEPEST = 50, 1000, 8


def parse_share(text: object, field: str) -> float | None:
    """Parse a share such as 0.02, 0,02 or 2 %; None for an empty input.

    Args:
        text: of the input, of any type.
        field: label of the input.

    Raises:
        UserError: it is not a number from 0 to 1.
    """
    words = _words(text)
    if not words:
        return None
    try:
        value = float(words.removesuffix("%").strip().replace(",", "."))
    except ValueError:
        raise UserError(
            field, f"{_shown(words)} is not a number", "Give a share such as 0.02, or 2 %."
        ) from None
    if words.endswith("%"):
        value /= 100
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise UserError(
            field, f"must be from 0 to 1, is {_shown(words)}", "0.02 is 2 % of the pictures."
        )
    return value


def parse_whole(text: object, field: str) -> int | None:
    """Parse a whole number; None for an empty input.

    Args:
        text: of the input, of any type.
        field: label of the input.

    Raises:
        UserError: it is not a whole number.
    """
    words = _words(text)
    if not words:
        return None
    digits = words.removeprefix("-")
    # Neither digits of other scripts nor thousands of digits.
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= _LONGEST):
        raise UserError(field, f"{_shown(words)} is not a whole number", "Type one, such as 1000.")
    return int(words)


def parse_settings(text: object, field: str) -> dict[str, Any]:
    """Parse settings by name, written as in a file or a recommendation.

    Args:
        text: of the input: lines of one or more `name: value`, optionally numbered or commented.
        field: label of the input.

    Raises:
        UserError: a line is not a setting, or there are no lines.
    """
    lines = [re.sub(r"^\s*\d+\.\s+", "", line).strip() for line in _words(text).splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise UserError(field, "is empty", "Type a setting, such as gradient_checkpointing: true.")
    if len(lines) > _MOST_LINES:
        raise UserError(field, f"has {len(lines)} lines", f"At most {_MOST_LINES} are read.")
    found: dict[str, Any] = {}
    for line in lines:
        found |= _settings_in(line, field)
    return found


def _settings_in(line: str, field: str) -> dict[str, Any]:
    problem = UserError(
        field,
        f"{_shown(line)} is not a setting",
        "Type `name: value`, such as lr_warmup_steps: 0.",
    )
    # Deep nesting would exhaust the parser.
    if len(line) > _LONGEST_LINE or line.count("[") + line.count("{") > _DEEPEST:
        raise problem
    try:
        # The line break ends a comment; the braces allow several settings in a line.
        found = yaml.safe_load(f"{{{line}\n}}")
    except (yaml.YAMLError, ValueError):  # ValueError for impossible dates
        raise problem from None
    names = found if isinstance(found, dict) else {}
    # A name without a value reads as null.
    lacks = None in names.values() and "null" not in line
    if not names or lacks or not all(isinstance(name, str) for name in names):
        raise problem
    # The form shows names with spaces.
    return {name.replace(" ", "_"): value for name, value in names.items()}


def unique_texts(values: object) -> list[str]:
    """The texts in a list of any type, each once."""
    found = values if isinstance(values, (list, tuple)) else []
    return list(dict.fromkeys(one for one in found if isinstance(one, str)))


def _words(text: object) -> str:
    return "" if text is None else str(text).strip()


def _shown(words: str) -> str:
    return repr(words if len(words) <= _LONGEST else words[:_LONGEST] + "...")
