"""The licence of a repository, as its card states it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class License:
    """The licence that a card states; all of it is the author's own claim.

    Attributes:
        id: the Hub's short name, such as apache-2.0; "other" where only name and link tell.
        name: the author's name for a licence that is not the Hub's; None where not given.
        link: to its text; None where not given.
    """

    id: str
    name: str | None = None
    link: str | None = None

    def __str__(self) -> str:
        words = [self.name or self.id, f"({self.link})" if self.link else ""]
        return " ".join(word for word in words if word)


def read_license(card: Mapping[str, Any], tags: Sequence[str] | None) -> License | None:
    """The licence that a card or, without one, the repository's tags name; None if none does.

    Args:
        card: the front matter of its README.
        tags: of the repository, on the Hub.
    """
    entry = card.get("license")
    if not entry:
        prefix = "license:"
        entry = [tag.removeprefix(prefix) for tag in tags or () if tag.startswith(prefix)]
    # A card can hold anything; the Hub's lists hold cards that it would not accept any more.
    ids = entry if isinstance(entry, list) else [entry]
    if not ids:
        return None
    name, link = (card.get(key) for key in ("license_name", "license_link"))
    return License(
        ", ".join(str(one) for one in ids),
        None if name is None else str(name),
        None if link is None else str(link),
    )
