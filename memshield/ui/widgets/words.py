"""Numbers as a person reads them."""

from __future__ import annotations

import re

from huggingface_hub.constants import ENDPOINT
from markupsafe import Markup, escape

from memshield.quantities import duration

# Pages of repositories, as `memshield.network.page_of` names them; nothing else becomes a link.
_PAGE = re.compile(re.escape(ENDPOINT) + r"(/[A-Za-z0-9][\w.-]*){2,3}(?<!\.)")


def plural(number: int, one: str, more: str = "") -> str:
    """A number with its noun: 1 step, 2 steps."""
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def count(number: float) -> str:
    """A number with its thousands set apart."""
    return f"{number:,.0f}"


def unbroken(text: str) -> str:
    """The text with percent signs that stay beside their numbers."""
    return re.sub(r"(?<=\d) %", "\u00a0%", text)


def time_left(seconds: float) -> str:
    """What is left, in steps that do not make a reader nervous."""
    if seconds < 5:
        return "a few seconds left"
    if seconds < 90:
        return f"about {5 * round(seconds / 5)} seconds left"
    return f"about {duration(seconds, spelled=True)} left"


def short(number: int) -> str:
    """A large count, to three figures: 860 M."""
    value = float(number)
    for unit in ("", " k", " M"):
        if value < 1000:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g} B"


def figure(value: float | None) -> str:
    """A measured value, to four figures; nothing where there is none."""
    return "" if value is None else f"{value:.4g}"


def linked(text: str) -> Markup:
    """The text as HTML, in which pages of the Hub can be opened."""
    made, end = Markup(), 0
    for found in _PAGE.finditer(text):
        made += escape(text[end : found.start()])
        made += Markup('<a href="{0}" target="_blank" rel="noopener noreferrer">{0}</a>').format(
            found[0]
        )
        end = found.end()
    return made + escape(text[end:])
