"""The front matter of a card: YAML above Markdown, read with bounds. Strangers write cards."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import yaml

_FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_KEY = re.compile(r"^([\w-]+)\s*:", re.MULTILINE)


class _Loader(yaml.SafeLoader):
    """Refuses aliases: a few lines of them expand to gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)


def split_card(text: str) -> tuple[str, str]:
    """A card's front matter, "" where it has none, and its body; line ends are made one."""
    text = text.replace("\r\n", "\n")
    front = _FRONT.match(text)
    return (front[1], text[front.end() :]) if front else ("", text)


def read_front_matter(text: str) -> dict[str, Any]:
    """The values of a front matter.

    Args:
        text: as `split_card` gives it.

    Raises:
        ValueError: it is not YAML, has aliases, is nested too deeply, or is no mapping.
    """
    try:
        values = yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())[:200]) from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ValueError("it is no mapping of names to values")
    return values


def repeated_keys(text: str) -> list[str]:
    """Names that a front matter has more than once; readers differ in which they take."""
    often = Counter(_KEY.findall(text))
    return sorted(name for name, times in often.items() if times > 1)
