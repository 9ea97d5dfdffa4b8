"""What must hold of any view's HTML."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from tests.ui.made_runs import HOSTILE

_VOID = {"img", "br", "line", "circle", "path"}
_OWN_LINKS = {"a"}


class _Checked(HTMLParser):
    """Reads a view and notes what must not be there."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.problems: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "style", "iframe", "object", "link", "form", "h1", "h2"):
            self.problems.append(f"<{tag}>")
        for name, value in attrs:
            if name.startswith("on") or (name == "id"):
                self.problems.append(f"{tag} {name}={value}")
            if name == "src" and not re.match(
                r"data:image/(webp|png|svg\+xml);base64,", value or ""
            ):
                self.problems.append(f"{tag} {name}={value}")
            # What is to be saved is not opened.
            own = r"https?://|#field-" + (r"|data:" if "download" in dict(attrs) else "")
            if name == "href" and not (tag in _OWN_LINKS and re.match(own, value or "")):
                self.problems.append(f"{tag} {name}={value}")
        if tag == "img" and not dict(attrs).get("alt"):
            self.problems.append("img without alt")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def text_of(html: str) -> str:
    """The view's words; it is well-formed, and nothing in it runs or asks for anything."""
    checked = _Checked()
    checked.feed(html)
    checked.close()
    assert checked.problems == []
    assert checked.open == []
    return " ".join(" ".join(checked.text).split())


def shows_hostile(html: str) -> bool:
    """Whether the hostile text is shown letter by letter."""
    return " ".join(HOSTILE.split()) in text_of(html)
