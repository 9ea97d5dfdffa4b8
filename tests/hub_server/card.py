"""The front matter of a repo's README, as far as the Hub's lists and filters need it."""

from __future__ import annotations

import re

from tests.hub_server.commit import Commit

Card = dict[str, "str | list[str]"]

_KEY = re.compile(r"(?P<key>[\w-]+):(?:\s+(?P<value>.*))?")
_ITEM = re.compile(r"\s*-\s+(?P<value>.*)")


def read_card(commit: Commit) -> Card:
    """Top-level scalars and flat lists of the YAML block. Deeper structures are left out: the
    standard library has no YAML, and datasets parses its `configs` from the file itself."""
    readme = commit.files.get("README.md")
    if readme is None:
        return {}
    first, *lines = readme.data.decode("utf-8", "replace").splitlines() or [""]
    if first.strip() != "---":
        return {}
    card: Card = {}
    key = ""
    for line in lines:
        if line.strip() == "---":
            return card
        if line.lstrip().startswith("#"):
            continue
        entry, item = _KEY.fullmatch(line), _ITEM.fullmatch(line)
        if entry is not None:
            key = entry["key"]
            card[key] = _value(entry["value"] or "")
        elif item is not None and re.search(r":\s|:$", item["value"]) is None:
            items = card.get(key)
            if items == "":
                card[key] = [_scalar(item["value"])]
            elif isinstance(items, list):
                items.append(_scalar(item["value"]))
        elif line.strip():
            card.pop(key, None)
    return {}  # the block was never closed, hence is none


def _value(text: str) -> str | list[str]:
    if text.startswith("[") and text.endswith("]"):
        return [_scalar(part) for part in text[1:-1].split(",") if part.strip()]
    return _scalar(text)


def _scalar(text: str) -> str:
    return text.strip().strip("'\"")


def strings(card: Card, key: str) -> list[str]:
    """The entry as a list: one value may be written without one."""
    value = card.get(key, [])
    return [value] if isinstance(value, str) else value
