"""A box for an id on the Hub that can search, too."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from memshield.errors import UserError
from memshield.hub.catalog.access import is_address
from memshield.hub.catalog.found import DatasetFound, ModelFound, Page
from memshield.hub.catalog.license import License
from memshield.ui.server import Server
from memshield.ui.train.fields import RAW, Fields
from memshield.ui.views.found import FAMILIES
from memshield.ui.views.problems import empty_view, problem_view

SEARCH = "words to search for, or owner/name"
_FOUND = 20
_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


@dataclass(frozen=True)
class SearchBox:
    """A box, what a search found, and what is told of the choice.

    Attributes:
        text: the box.
        found: to choose from.
        about: the choice.
        seen: what is told of, so that leaving the box does not ask again.
    """

    text: gr.Textbox
    found: gr.Radio
    about: gr.HTML
    seen: gr.State


def search_box(
    server: Server,
    fields: Fields,
    name: str,
    label: str,
    search: Callable[..., Page[Any]],
    line: Callable[[Any], str],
) -> SearchBox:
    """Lay it out, and let it search.

    Args:
        server: see there.
        fields: takes the box.
        name: of the field.
        label: of it.
        search: asks the Hub.
        line: what a list says of a result.
    """
    seen = gr.State("")
    with fields.place(name, label), gr.Row():
        text = gr.Textbox(
            label=label,
            placeholder=SEARCH,
            scale=4,
            elem_id=name,
            max_length=500,
            html_attributes=gr.InputHTMLAttributes(
                autocapitalize="off", autocorrect="off", spellcheck=False, autocomplete="off"
            ),
        )
        button = gr.Button(
            f"Search {label.lower()}s", scale=1, min_width=120, elem_classes=["ms-search"]
        )
    fields.keep(name, text)
    found = gr.Radio([], label=f"{label}s found", visible=False, elem_classes=["ms-list"])
    about = gr.HTML(elem_id=f"about-{name}", elem_classes=["ms-slot"])

    def on_search(words: object, token: gr.OAuthToken | None) -> tuple[Any, Any]:
        try:
            page = search(_text(words), token=server.visitor(token).token, limit=_FOUND)
        except UserError as error:
            return gr.Radio(visible=False), problem_view(_of(error, name), name)
        named = [(line(one), one.id) for one in page.items]
        hint = gr.skip() if named else empty_view("Nothing found", "Try fewer words.")
        return gr.Radio(named, value=None, visible=bool(named)), hint

    def on_submit(words: object, token: gr.OAuthToken | None) -> tuple[Any, Any]:
        return (gr.skip(), gr.skip()) if is_id(words) else on_search(words, token)

    shown = [found, fields.slots[name]]
    asks: dict[str, Any] = {**RAW, "show_progress_on": found}
    button.click(on_search, text, shown, **asks)
    text.submit(on_submit, text, shown, **asks)
    return SearchBox(text, found, about, seen)


def is_id(words: object) -> bool:
    """Whether somebody names a repository, and is not looking for one."""
    text = _text(words)
    return bool(_ID.fullmatch(text)) or is_address(text)


def model_line(one: ModelFound) -> str:
    """What a list says of a model."""
    return _line(one.id, FAMILIES[one.family], one.license, one.gated)


def dataset_line(one: DatasetFound) -> str:
    """What a list says of a dataset."""
    rows = f"{one.rows:,} rows" if one.rows else one.size_category
    return _line(one.id, rows, one.license, one.gated)


def _line(id: str, size: str | None, license: License | None, gated: bool) -> str:
    parts = (id, size, str(license) if license else "license not said", gated and "gated")
    return " \u00b7 ".join(part for part in parts if part)


def _text(words: object) -> str:
    return words.strip() if isinstance(words, str) else ""


def _of(error: UserError, name: str) -> UserError:
    return UserError(name, error.problem, error.remedy)
