"""The templates of the views."""

from __future__ import annotations

from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from memshield.audit.page import interval
from memshield.audit.report import percent
from memshield.ui.views.words import count, duration, linked, plural, size, unbroken


@lru_cache(maxsize=1)
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("memshield.ui.views", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    filters = (percent, interval, count, duration, linked, plural, size, unbroken)
    made.filters.update({one.__name__: one for one in filters})
    return made


def render(name: str, **values: object) -> Markup:
    """A view's HTML: the template `name`.html.jinja, every value escaped, none missing."""
    return Markup(_environment().get_template(f"{name}.html.jinja").render(values))
