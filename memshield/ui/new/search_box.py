"""An input for an id on the Hub that also searches, while somebody types or when asked to."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import gradio as gr

from memshield.errors import UserError, collect_errors
from memshield.hub.catalog.access import is_address
from memshield.hub.catalog.license import License
from memshield.hub.catalog.results import DatasetFound, ModelFound, Page
from memshield.ui.errors import attempt
from memshield.ui.new.descriptions import FAMILY_NAMES
from memshield.ui.server.server import Server
from memshield.ui.widgets.fields import AGAIN, QUIET, RAW, Fields
from memshield.ui.widgets.problems import empty_view, problem_view
from memshield.ui.widgets.words import short

SEARCH = "words to search for, or owner/name"
PAUSE = 0.5
"""Seconds without typing before a text is searched for."""
_FOUND = 20
_FEWEST = 3
"""Letters that start a search while somebody types."""
_COUNTED = "(words, latest) => [words, latest, (window.keystrokes = (window.keystrokes ?? 0) + 1)]"
"""Numbers the keystrokes in the browser, which sends them in parallel."""
_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


@dataclass(frozen=True)
class SearchBox:
    """The components of a search box.

    Attributes:
        text: the input.
        found: the results to choose from.
        picked: event after a result was put into the input.
        about: describes the choice.
        seen: the described id, so that leaving the input does not look it up again.
    """

    text: gr.Textbox
    found: gr.Radio
    picked: Any
    about: gr.HTML
    seen: gr.State


class LatestSearch:
    """Numbers one visitor's searches in one box, so that late answers can be dropped.

    gradio passes the same object to all calls of a visitor, even to concurrent ones.

    Attributes:
        picked: the text that was picked from the list; "" once somebody typed.
    """

    def __init__(self) -> None:
        self.picked = ""
        self._last = 0
        self._typed = 0.0
        self._asking = asyncio.Lock()
        self._asked = -1e9

    def take(self) -> int:
        """Number a new search, which becomes the last one."""
        self._last += 1
        return self._last

    def is_overtaken(self, order: object) -> bool:
        """Whether a later keystroke has arrived before this one, as requests of a browser may.

        Args:
            order: number of the keystroke, counted in the browser; without one it is the latest.
        """
        if not isinstance(order, (int, float)) or isinstance(order, bool):
            return False
        if order < self._typed:
            return True
        self._typed = order
        return False

    def is_last(self, number: int) -> bool:
        """Whether no search was numbered since."""
        return number == self._last

    @asynccontextmanager
    async def pause(self, number: int, seconds: float) -> AsyncIterator[bool]:
        """Wait until nobody types any more, and until the search before is answered.

        Args:
            number: of the search.
            seconds: least time between the beginnings of two searches.

        Returns:
            Whether the search is still the last one, and may ask the Hub inside the block.
        """
        await asyncio.sleep(PAUSE)
        if not self.is_last(number):
            yield False
            return
        async with self._asking:
            left = self._asked + seconds - time.monotonic()
            if left > 0 and self.is_last(number):
                await asyncio.sleep(left)
            if not self.is_last(number):
                yield False
                return
            self._asked = time.monotonic()
            yield True


def search_box(
    server: Server,
    fields: Fields,
    name: str,
    label: str,
    search: Callable[..., Page[Any]],
    line: Callable[[Any], str],
    requests: int,
) -> SearchBox:
    """Lay out a search box.

    Args:
        server: the page's server.
        fields: takes the input.
        name: of the field.
        label: of the field.
        search: asks the Hub.
        line: describes a result in a line.
        requests: number of requests a search sends to the Hub, which gets two a second at most
            while somebody types.
    """
    seen = gr.State("")
    latest = gr.State(LatestSearch())
    order = gr.Number(visible=False)
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

    def on_search(
        words: object, latest: LatestSearch, token: gr.OAuthToken | None
    ) -> tuple[Any, Any]:
        number = latest.take()
        errors: list[UserError] = []
        results: list[tuple[str, str]] = []
        with collect_errors(errors):
            results = ask(_text(words), token)
        if not latest.is_last(number):
            return gr.skip(), gr.skip()
        hint = empty_view("Nothing found", "Try fewer words.")
        if errors or results:
            hint = problem_view(errors) if errors else gr.skip()
        return gr.Radio(results, value=None, visible=bool(results), label=f"{label}s found"), hint

    def on_submit(
        words: object, latest: LatestSearch, token: gr.OAuthToken | None
    ) -> tuple[Any, Any]:
        if not is_id(words):
            return on_search(words, latest, token)
        latest.take()
        return gr.skip(), gr.skip()

    async def on_typing(
        words: object, latest: LatestSearch, order: object, token: gr.OAuthToken | None
    ) -> Any:
        text = _text(words)
        if latest.is_overtaken(order):
            return gr.skip()
        if text and text == latest.picked:
            return gr.skip()  # picked from the list, which stays
        number, latest.picked = latest.take(), ""
        if len(text) < _FEWEST:
            return gr.Radio([], value=None, visible=False)
        async with latest.pause(number, requests / 2) as is_last:
            if not is_last:
                return gr.skip()
            results = await asyncio.to_thread(attempt, lambda: ask(text, token))
        if results is None or not latest.is_last(number):
            return gr.skip()  # only the button reports errors
        title = f"{label}s found" if results else f"No {label.lower()}s found"
        # A complete id needs no list, neither of itself alone nor an empty one.
        shown = not is_id(text) or any(id != text for _, id in results)
        return gr.Radio(results, value=None, visible=shown, label=title)

    def on_pick(id: object, latest: LatestSearch) -> object:
        latest.take()
        latest.picked = _text(id)
        return id

    shown = [found, fields.slots[name]]
    asks: dict[str, Any] = {**RAW, "show_progress_on": found}
    button.click(on_search, [text, latest], shown, **asks, **AGAIN)
    text.submit(on_submit, [text, latest], shown, **asks, **AGAIN)
    # `input` would miss deleted and pasted text, and "always_last" would call all listeners of
    # the input once more.
    text.change(
        on_typing, [text, latest, order], found, trigger_mode="multiple", concurrency_limit=None,
        js=_COUNTED, **QUIET,
    )  # fmt: skip
    picked = found.input(on_pick, [found, latest], text, **RAW)
    return SearchBox(text, found, picked, about, seen)


def is_id(words: object) -> bool:
    """Whether a text names a repository, and so is not a search."""
    text = _text(words)
    return bool(_ID.fullmatch(text)) or is_address(text)


def model_line(model: ModelFound) -> str:
    """Describe a model in a line; the Hub's lists lack the size of most pipelines."""
    size = f"{short(model.parameters)} weights" if model.parameters else None
    return _line(model.id, FAMILY_NAMES[model.family], size, model.license, model.gated)


def dataset_line(dataset: DatasetFound) -> str:
    """Describe a dataset in a line."""
    rows = f"{dataset.rows:,} rows" if dataset.rows else dataset.size_category
    return _line(dataset.id, None, rows, dataset.license, dataset.gated)


def _line(id: str, kind: str | None, size: str | None, license: License | None, gated: bool) -> str:
    parts = (id, kind, size, str(license) if license else "license not stated", gated and "gated")
    return " \u00b7 ".join(part for part in parts if part)


def _text(words: object) -> str:
    return words.strip() if isinstance(words, str) else ""
