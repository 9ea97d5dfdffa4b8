"""The front matter of a repo's README: what the Hub knows of a repo beside its files."""

from __future__ import annotations

import json
from collections.abc import Mapping

import yaml

from tests.hub_server.commit import Commit

Card = Mapping[str, object]


def read_card(commit: Commit) -> Card:
    """The front matter, empty where there is none. What is broken is none, too: the Hub shows
    such repos all the same."""
    readme = commit.files.get("README.md")
    if readme is None:
        return {}
    text = front_matter(bytes(readme.data).decode("utf-8", "replace"))
    try:
        card = None if text is None else yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    if not isinstance(card, dict):
        return {}
    # YAML knows dates, JSON does not.
    as_json: Card = json.loads(json.dumps(card, default=str))
    return as_json


def front_matter(text: str) -> str | None:
    """The YAML between the first line, which must be dashes, and the next line of dashes."""
    first, *lines = text.splitlines() or [""]
    ends = [number for number, line in enumerate(lines) if line.rstrip() == "---"]
    if first.rstrip() != "---" or not ends:
        return None
    return "\n".join(lines[: ends[0]])


def strings(card: Card, key: str) -> list[str]:
    """The entry as a list: one value may be written without one."""
    value = card.get(key)
    values = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, str)]
