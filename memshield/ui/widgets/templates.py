"""Renders the templates of the views."""

from __future__ import annotations

from functools import lru_cache

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from memshield.audit.report import percent
from memshield.audit.report_view import excess_interval_words, excess_words, interval
from memshield.quantities import duration, plural, size
from memshield.ui.widgets.words import about, count, linked, unbroken, worded

_FOLDERS = ("widgets", "new", "runs", "use", "audits")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    made = Environment(
        loader=ChoiceLoader([PackageLoader("memshield.ui", folder) for folder in _FOLDERS]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    filters = (
        percent, interval, excess_words, excess_interval_words, about, count, duration, linked,
        plural, size, unbroken, worded,
    )  # fmt: skip
    made.filters.update({one.__name__: one for one in filters})
    return made


def render(name: str, **values: object) -> Markup:
    """Render the template `name`.html.jinja; values are escaped, and a missing one is an error."""
    return Markup(_environment().get_template(f"{name}.html.jinja").render(values))
