"""What a visitor types into the small inputs beside a run: text of any kind, read in words."""

from __future__ import annotations

import math

from memshield.errors import UserError

_LONGEST = 40


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


def texts_of(values: object) -> list[str]:
    """The texts among what came as a list of them, each once."""
    found = values if isinstance(values, (list, tuple)) else []
    return list(dict.fromkeys(one for one in found if isinstance(one, str)))


def _words(text: object) -> str:
    return "" if text is None else str(text).strip()


def _shown(words: str) -> str:
    return repr(words if len(words) <= _LONGEST else words[:_LONGEST] + "...")
