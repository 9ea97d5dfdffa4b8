"""View of a model card as the Hub will show it: Markdown without foreign HTML, and metadata."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup, escape

from memshield.hub.allowed_files import CARD, is_allowed, is_inside
from memshield.hub.front_matter import read_front_matter, split_card
from memshield.ui.widgets.pictures import picture_in
from memshield.ui.widgets.problems import empty_view
from memshield.ui.widgets.templates import render

_FOLD, _FOLD_END = re.compile(r"^<details><summary>([^<>\n]*)</summary>\n", re.M), "\n</details>\n"
_MOST, _MOST_VALUE = 300_000, 300
_SIDE = 160
_DEEPER = 2
"""Heading levels added to the card's own, so that it fits into the page."""


def card_view(folder: Path) -> str:
    """Show the card in a folder, with the pictures of that folder.

    Args:
        folder: filled by `Publisher.preview`, or pulled.
    """
    try:
        text = (folder / CARD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return empty_view("No card yet", "A preview of what would be published writes it.")
    return card_text_view(text, folder)


def card_text_view(text: str, folder: Path | None = None) -> str:
    """Show a card given as text.

    Args:
        text: with or without front matter.
        folder: holds its pictures; None to show their descriptions only.
    """
    text = text[:_MOST]
    front, body = split_card(text)
    metadata, results = _metadata(front)
    return render("card", metadata=metadata, results=results, body=_body(body, folder))


def _metadata(text: str) -> tuple[list[tuple[str, list[str]]], list[tuple[str, str]]]:
    """Return names with their values, and the results of the audit."""
    try:
        values = read_front_matter(text)
    except ValueError as error:
        return [("metadata", [f"cannot be read: {error}"])], []
    results = _results(values.pop("model-index", None))
    values.pop("widget", None)
    rows = []
    for name, value in values.items():
        many = value if isinstance(value, list) else [value]
        rows.append((str(name).replace("_", " "), [str(one)[:_MOST_VALUE] for one in many]))
    return rows, results


def _results(index: object) -> list[tuple[str, str]]:
    """Name and value of every metric in a model-index; invalid parts are skipped."""
    found = []
    for model in _dicts(index):
        for result in _dicts(model.get("results")):
            for metric in _dicts(result.get("metrics")):
                name = metric.get("name") or metric.get("type")
                found.append((str(name), str(metric.get("value"))))
    return found


def _dicts(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _body(text: str, folder: Path | None) -> Markup:
    """Convert the body to HTML; its folds, the only tags in our cards, are handled here."""
    made = Markup("")
    while (fold := _FOLD.search(text)) and (end := text.find(_FOLD_END, fold.end() - 1)) >= 0:
        made += _html(text[: fold.start()], folder)
        made += Markup("<details><summary>{}</summary>").format(fold[1])
        made += _html(text[fold.end() : end + 1], folder) + Markup("</details>")
        text = text[end + len(_FOLD_END) :]
    return made + _html(text, folder)


def _html(text: str, folder: Path | None) -> Markup:
    # Made anew: its rules know the folder.
    parser = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable("table")
    return Markup(parser.render(text, {"folder": folder}))


class _Renderer(RendererHTML):
    """Pictures are embedded or described, never fetched; headings fit into the page."""

    def image(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        token = tokens[idx]
        words = self.renderInlineAsText(token.children or [], options, env)
        source, folder = str(token.attrs.get("src", "")), env["folder"]
        picture = None
        if folder is not None and is_inside(source) and is_allowed(source):
            picture = picture_in(folder / source, _SIDE)
        if picture is None:
            return str(Markup("<em>[{}]</em>").format(words or "a picture"))
        return str(
            Markup('<img src="{}" width="{}" height="{}" alt="{}">').format(
                picture.uri, picture.width, picture.height, words
            )
        )

    def link_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        token = tokens[idx]
        target = str(token.attrs.get("href", ""))
        if not re.match(r"https?://", target):
            # A link to a file of the repository, which does not exist yet.
            return "<span>"
        return f'<a href="{escape(target)}" target="_blank" rel="noopener noreferrer nofollow">'

    def link_close(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        opened = next(
            tokens[i] for i in range(idx, -1, -1)
            if tokens[i].type == "link_open" and tokens[i].level == tokens[idx].level
        )  # fmt: skip
        outside = re.match(r"https?://", str(opened.attrs.get("href", "")))
        return "</a>" if outside else "</span>"

    def heading_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return f"<{_heading(tokens[idx])}>"

    def heading_close(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return f"</{_heading(tokens[idx])}>\n"

    def fence(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        # A box that scrolls must be reachable with the keyboard.
        head = '<pre tabindex="0" role="group" aria-label="Code"><code>'
        return f"{head}{escape(tokens[idx].content)}</code></pre>\n"

    code_block = fence

    def table_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return '<div class="ms-scroll" tabindex="0" role="group" aria-label="Table"><table>\n'

    def table_close(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return "</table></div>\n"


def _heading(token: Token) -> str:
    return f"h{min(6, int(token.tag[1:]) + _DEEPER)}"
