"""A box for an id on the Hub that can search, too: as one types, or when asked to."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from memshield.errors import UserError
from memshield.hub.catalog.access import is_address
from memshield.hub.catalog.license import License
from memshield.hub.catalog.results import DatasetFound, ModelFound, Page
from memshield.ui.new.family_names import FAMILIES
from memshield.ui.new.search_order import Turns
from memshield.ui.server.server import Server
from memshield.ui.widgets.fields import QUIET, RAW, Fields
from memshield.ui.widgets.problems import empty_view, problem_view
from memshield.ui.widgets.words import short

SEARCH = "words to search for, or owner/name"
_FOUND = 20
_FEWEST = 3
"""Letters that are searched for while somebody types."""
_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


@dataclass(frozen=True)
class SearchBox:
    """A box, what a search found, and what is told of the choice.

    Attributes:
        text: the box.
        found: to choose from.
        picked: a choice has come into the box.
        about: the choice.
        seen: what is told of, so that leaving the box does not ask again.
    """

    text: gr.Textbox
    found: gr.Radio
    picked: Any
    about: gr.HTML
    seen: gr.State


def search_box(
    server: Server,
    fields: Fields,
    name: str,
    label: str,
    search: Callable[..., Page[Any]],
    line: Callable[[Any], str],
    requests: int,
) -> SearchBox:
    """Lay it out, and let it search.

    Args:
        server: see there.
        fields: takes the box.
        name: of the field.
        label: of it.
        search: asks the Hub.
        line: what a list says of a result.
        requests: that a search sends to the Hub, which gets two a second while somebody types.
    """
    seen = gr.State("")
    turns = gr.State(Turns())
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

    def ask(words: str, token: gr.OAuthToken | None) -> list[tuple[str, str]]:
        page = search(words, token=server.visitor(token).token, limit=_FOUND)
        return [(line(one), one.id) for one in page.items]

    def on_search(words: object, turns: Turns, token: gr.OAuthToken | None) -> tuple[Any, Any]:
        mine = turns.take()
        try:
            named = ask(_text(words), token)
            hint = gr.skip() if named else empty_view("Nothing found", "Try fewer words.")
        except UserError as error:
            named, hint = [], problem_view(_of(error, name), name)
        if not turns.is_last(mine):
            return gr.skip(), gr.skip()
        return gr.Radio(named, value=None, visible=bool(named), label=f"{label}s found"), hint

    def on_submit(words: object, turns: Turns, token: gr.OAuthToken | None) -> tuple[Any, Any]:
        if not is_id(words):
            return on_search(words, turns, token)
        turns.take()
        return gr.skip(), gr.skip()

    async def on_typing(words: object, turns: Turns, token: gr.OAuthToken | None) -> Any:
        text = _text(words)
        if text and text == turns.picked:
            return gr.skip()  # it came from the list, which stays
        mine, turns.picked = turns.take(), ""
        if len(text) < _FEWEST:
            return gr.Radio([], value=None, visible=False)
        async with turns.pause(mine, requests / 2) as still:
            if not still:
                return gr.skip()
            try:
                named = await asyncio.to_thread(ask, text, token)
            except UserError:  # the button tells it
                return gr.skip()
        if not turns.is_last(mine):
            return gr.skip()
        told = f"{label}s found" if named else f"No {label.lower()}s found"
        # What is named by its id already need not be listed, nor be missed.
        shown = not is_id(text) or any(id != text for _, id in named)
        return gr.Radio(named, value=None, visible=shown, label=told)

    def on_pick(one: object, turns: Turns) -> object:
        turns.take()
        turns.picked = _text(one)
        return one

    shown = [found, fields.slots[name]]
    asks: dict[str, Any] = {**RAW, "show_progress_on": found}
    button.click(on_search, [text, turns], shown, **asks)
    text.submit(on_submit, [text, turns], shown, **asks)
    # Not on `input`, which gradio tells of letters, but not of those that are deleted or pasted.
    # And each is let in: "always_last" would have all listeners of the box called once more.
    text.change(
        on_typing, [text, turns], found, trigger_mode="multiple", concurrency_limit=None, **QUIET
    )
    picked = found.input(on_pick, [found, turns], text, **RAW)
    return SearchBox(text, found, picked, about, seen)


def is_id(words: object) -> bool:
    """Whether somebody names a repository, and is not looking for one."""
    text = _text(words)
    return bool(_ID.fullmatch(text)) or is_address(text)


def model_line(one: ModelFound) -> str:
    """What a list says of a model; of most pipelines, the Hub's lists tell no size."""
    size = f"{short(one.parameters)} weights" if one.parameters else None
    return _line(one.id, FAMILIES[one.family], size, one.license, one.gated)


def dataset_line(one: DatasetFound) -> str:
    """What a list says of a dataset."""
    rows = f"{one.rows:,} rows" if one.rows else one.size_category
    return _line(one.id, None, rows, one.license, one.gated)


def _line(id: str, kind: str | None, size: str | None, license: License | None, gated: bool) -> str:
    parts = (id, kind, size, str(license) if license else "license not said", gated and "gated")
    return " \u00b7 ".join(part for part in parts if part)


def _text(words: object) -> str:
    return words.strip() if isinstance(words, str) else ""


def _of(error: UserError, name: str) -> UserError:
    return UserError(name, error.problem, error.remedy)
