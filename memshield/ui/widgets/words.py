"""Numbers, times, sizes and settings in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from huggingface_hub.constants import ENDPOINT
from markupsafe import Markup, escape

from memshield.config.file import fields
from memshield.quantities import duration, plural

# Pages of repositories, as `memshield.network.page_of` writes them; only these become links.
_PAGE = re.compile(re.escape(ENDPOINT) + r"(/[A-Za-z0-9][\w.-]*){2,3}(?<!\.)")
STATE_MARKS = {
    "running": "running", "preparing": "running", "stopping": "running", "done": "done",
    "outdated": "stopped", "stopped": "stopped", "failed": "failed", "died": "failed",
}  # fmt: skip
"""The style class of a state's title; one that waits has none."""


def count(number: float) -> str:
    """A number with separated thousands."""
    return f"{number:,.0f}"


def unbroken(text: str) -> str:
    """Keep percent signs on the line of their numbers."""
    return re.sub(r"(?<=\d) %", "\u00a0%", text)


def time_left(seconds: float) -> str:
    """The time left, rounded so that it does not flicker."""
    if seconds < 5:
        return "a few seconds left"
    if seconds < 90:
        return f"about {5 * round(seconds / 5)} seconds left"
    return f"about {duration(seconds, spelled=True)} left"


def age(seconds: float) -> str:
    """How long ago something was, in whole units."""
    for unit, name in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= unit:
            return f"{plural(int(seconds // unit), name)} ago"
    return "just now"


def about(seconds: float) -> str:
    """A time that is not known well."""
    if 36_000 <= seconds < 172_800:
        return f"{seconds / 3600:.0f} hours"
    return duration(seconds, spelled=True)


def dollars_in_words(low: float, high: float) -> str:
    """A range of costs."""
    return "less than a cent" if high < 0.01 else f"${low:.2f} to ${high:.2f}"


def short(number: int) -> str:
    """A large count with three significant figures: 860 M."""
    value = float(number)
    for unit in ("", " k", " M"):
        if value < 1000:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g} B"


def figure(value: float | None) -> str:
    """A measured value with four significant figures; "" for None."""
    return "" if value is None else f"{value:.4g}"


# Where the form's name of a setting is not its name with spaces.
_SHORT: Mapping[str, str] = {
    "num_train_epochs": "epochs", "num_rounds": "rounds", "num_shards": "shards",
}  # fmt: skip


@cache
def _settings() -> re.Pattern[str]:
    """Names of settings in a sentence, as in a file or a flag; not in a path or `name: value`."""
    names = "|".join(sorted((name for name in fields() if "_" in name), key=len, reverse=True))
    return re.compile(rf"(?<![\w/.`'\"-])(?:--)?({names})(?![\w/:`'\"]|\.\w)")


def worded(text: str) -> str:
    """Name settings in a sentence as the form names them: "num_shards" is "shards"."""
    return _settings().sub(lambda one: _SHORT.get(one[1], one[1].replace("_", " ")), text)


def linked(text: str) -> Markup:
    """Convert text to HTML in which pages of the Hub are links."""
    made, end = Markup(), 0
    for found in _PAGE.finditer(text):
        made += escape(text[end : found.start()])
        made += Markup('<a href="{0}" target="_blank" rel="noopener noreferrer">{0}</a>').format(
            found[0]
        )
        end = found.end()
    return made + escape(text[end:])
