"""The license of a repository, as its card states it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memshield.families.repository import Repository
from memshield.hub.catalog.access import card_of
from memshield.hub.front_matter import read_front_matter, split_card
from memshield.network import page_of

_NONCOMMERCIAL = re.compile(r"non[\s_-]?commercial|(^|[\W_])nc([\W_]|$)", re.IGNORECASE)
_STABILITY = "stabilityai-ai-community"
_OF_THE_HUB = frozenset((
    "afl-3.0", "agpl-3.0", "apache-2.0", "apple-amlr", "apple-ascl", "artistic-2.0",
    "bigcode-openrail-m", "bigscience-bloom-rail-1.0", "bigscience-openrail-m", "bsd",
    "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "bsl-1.0", "c-uda", "cc", "cc-by-2.0",
    "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0",
    "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0",
    "cc-by-nd-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0", "cdla-permissive-1.0",
    "cdla-permissive-2.0", "cdla-sharing-1.0", "creativeml-openrail-m", "deepfloyd-if-license",
    "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "eupl-1.2", "gemma", "gfdl", "gpl",
    "gpl-2.0", "gpl-3.0", "h-research", "intel-research", "isc", "lgpl", "lgpl-2.1", "lgpl-3.0",
    "lgpl-lr", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "lppl-1.3c", "mit",
    "mpl-2.0", "ms-pl", "ncsa", "odbl", "odc-by", "ofl-1.1", "openmdw-1.0", "openrail",
    "openrail++", "osl-3.0", "other", "pddl", "postgresql", "unknown", "unlicense", "wtfpl", "zlib",
))  # fmt: skip
"""Short names that the Hub takes: https://huggingface.co/docs/hub/repositories-licenses.

One that it has learned since is written as a name of the author's: true, if less precise.
"""
_FILE = re.compile(r"(\./)?[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass(frozen=True)
class License:
    """The license that a card states; all of it is the author's own claim.

    Attributes:
        id: the Hub's short name, such as apache-2.0; "other" where only name and link tell.
        name: the author's name for a license that is not the Hub's; None where not given.
        link: to its text; None where not given.
    """

    id: str
    name: str | None = None
    link: str | None = None

    def __str__(self) -> str:
        words = [self.name or self.id, f"({self.link})" if self.link else ""]
        return " ".join(word for word in words if word)

    @property
    def terms(self) -> str | None:
        """What a model's license asks of who trains on it, in a sentence; None for the usual ones.

        It goes by the license's name: only its text binds.
        """
        if _NONCOMMERCIAL.search(f"{self.id} {self.name or ''}"):
            return "It allows no commercial use, and that covers models trained from this one."
        if self.name == _STABILITY:
            return (
                "Commercial use is free only below a yearly revenue of 1 million US dollars, and "
                "that covers models trained from this one."
            )
        if self.id == "other" and self.name:
            return "It is not one of the usual licenses: read it before you publish or sell."
        return None


def read_license(
    card: Mapping[str, Any], tags: Sequence[str] | None, page: str | None = None
) -> License | None:
    """The license that a card or, without one, the repository's tags name; None if none does.

    Args:
        card: the front matter of its README.
        tags: of the repository, on the Hub.
        page: of the repository; None where it has none. Its files are what a link may name.
    """
    entry = card.get("license")
    if not entry:
        prefix = "license:"
        entry = [tag.removeprefix(prefix) for tag in tags or () if tag.startswith(prefix)]
    # A card can hold anything; the Hub's lists hold cards that it would not accept any more.
    ids = entry if isinstance(entry, list) else [entry]
    if not ids:
        return None
    given, link = (card.get(key) for key in ("license_name", "license_link"))
    name = None if given is None else str(given)
    id, *others = (str(one) for one in ids)
    if others or id.lower() not in _OF_THE_HUB:
        id, name = "other", name or ", ".join((id, *others))
    return License(id.lower(), name, None if link is None else _address(str(link), page))


def _address(link: str, page: str | None) -> str | None:
    """A link that is good elsewhere, too: cards of the Hub name the license's file beside them."""
    if not _FILE.fullmatch(link):
        return link
    return None if page is None else f"{page}/blob/main/{link.removeprefix('./')}"


def license_of(repository: Repository) -> License | None:
    """The license of a model repository that was looked up, here or on the Hub."""
    if repository.info is not None:
        info = repository.info
        return read_license(card_of(info), info.tags, page_of("model", info.id))
    return None if repository.folder is None else license_in(repository.folder)


def license_words(repository: Repository | None) -> str | None:
    """A base's license and what it asks, for who is about to train; None where nothing is known."""
    license = None if repository is None else license_of(repository)
    if license is None:
        return None
    return f"{license}. {license.terms}" if license.terms else str(license)


def license_in(folder: Path) -> License | None:
    """The license that the card in a local folder names; None where there is none to be read."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
        return read_license(read_front_matter(split_card(text)[0]), None)
    except (OSError, ValueError):
        return None
