"""Licences: inherited from the base's card, and whether they allow what is done with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from memshield.hub.manifest import Licence

UNKNOWN = (None, "", "unknown")


def licence_of(card: Mapping[str, Any] | None) -> Licence:
    """The licence that a card's metadata names; of several, the first.

    Args:
        card: metadata of a model's or dataset's card; None where there is no card.
    """
    values = card or {}
    named = values.get("license")
    named = named[0] if isinstance(named, list) and named else named
    return Licence(
        id=named if isinstance(named, str) and named else None,
        name=_plain(values.get("license_name")),
        link=_link(values.get("license_link")),
    )


def objection(licence: Licence) -> str | None:
    """Why publishing a derivative may not be allowed; None where nothing speaks against it."""
    identified = licence.name if licence.id == "other" else licence.id
    if identified in UNKNOWN:
        return "the licence of the base is not known"
    if re.search(r"(^|-)nd(-|$)|no-?deriv", identified or "", re.IGNORECASE):
        return f"the licence of the base, {identified}, allows no derivatives"
    return None


def _plain(name: object) -> str | None:
    """A licence's name as the Hub takes it."""
    if not isinstance(name, str):
        return None
    return re.sub(r"[^\w .,()/+-]", "", name)[:80].strip() or None


def _link(link: object) -> str | None:
    """A page, or a file beside the base's card; nothing else is passed on."""
    if isinstance(link, str) and re.fullmatch(r"https://[\w./?=&%~:#+-]{3,300}", link):
        return link
    return None
