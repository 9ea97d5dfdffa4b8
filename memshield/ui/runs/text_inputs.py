"""What a visitor types into the small inputs beside a run: text of any kind, read in words."""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from memshield.errors import UserError

_LONGEST = 40
_MOST_LINES, _LONGEST_LINE, _DEEPEST = 50, 1000, 8


def share_of(text: object, field: str) -> float | None:
    """A share: 0.02, 0,02 or 2 %; None where nothing was typed.

    Args:
        text: as it came.
        field: what the page calls the input.

    Raises:
        UserError: it is no number, or not from 0 to 1.
    """
    words = _words(text)
    if not words:
        return None
    try:
        value = float(words.removesuffix("%").strip().replace(",", "."))
    except ValueError:
        raise UserError(
            field, f"{_shown(words)} is no number", "Give a share such as 0.02, or 2 %."
        ) from None
    if words.endswith("%"):
        value /= 100
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise UserError(
            field, f"must be from 0 to 1, is {_shown(words)}", "0.02 is 2 % of the pictures."
        )
    return value


def whole_of(text: object, field: str) -> int | None:
    """A whole number; None where nothing was typed.

    Args:
        text: as it came.
        field: what the page calls the input.

    Raises:
        UserError: it is none.
    """
    words = _words(text)
    if not words:
        return None
    digits = words.removeprefix("-")
    # Digits of other scripts, and thousands of them, are no numbers here.
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= _LONGEST):
        raise UserError(field, f"{_shown(words)} is no whole number", "Such as 1000.")
    return int(words)


def settings_of(text: object, field: str) -> dict[str, Any]:
    """Settings by name: one a line or several, as a file or an advice shows them.

    Args:
        text: as it came: `name: value`, with or without a number before and a comment after it.
        field: what the page calls the input.

    Raises:
        UserError: a line is none, or there is none.
    """
    lines = [re.sub(r"^\s*\d+\.\s+", "", line).strip() for line in _words(text).splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise UserError(field, "no setting is named", "Such as gradient_checkpointing: true.")
    if len(lines) > _MOST_LINES:
        raise UserError(field, f"these are {len(lines)} lines", f"{_MOST_LINES} are read at most.")
    found: dict[str, Any] = {}
    for line in lines:
        found |= _settings_in(line, field)
    return found


def _settings_in(line: str, field: str) -> dict[str, Any]:
    problem = UserError(
        field, f"{_shown(line)} is no setting", "Write `name: value`, such as learning_rate: 1e-4."
    )
    # Deep nesting would exhaust the parser.
    if len(line) > _LONGEST_LINE or line.count("[") + line.count("{") > _DEEPEST:
        raise problem
    try:
        # The end of the line ends a comment; the brackets take several in a line.
        found = yaml.safe_load(f"{{{line}\n}}")
    except (yaml.YAMLError, ValueError):  # the latter from dates that are none
        raise problem from None
    names = found if isinstance(found, dict) else {}
    # A name without a value reads as null.
    lacks = None in names.values() and "null" not in line
    if not names or lacks or not all(isinstance(name, str) for name in names):
        raise problem
    return dict(names)


def texts_of(values: object) -> list[str]:
    """The texts among what came as a list of them, each once."""
    found = values if isinstance(values, (list, tuple)) else []
    return list(dict.fromkeys(one for one in found if isinstance(one, str)))


def _words(text: object) -> str:
    return "" if text is None else str(text).strip()


def _shown(words: str) -> str:
    return repr(words if len(words) <= _LONGEST else words[:_LONGEST] + "...")
