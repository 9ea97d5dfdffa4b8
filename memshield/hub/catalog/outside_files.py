"""Refuses a dataset's card that takes data from outside its own repository.

A card can name any file of this machine, or any address, as data. The datasets library refuses
what it finds there, but only after it has looked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from huggingface_hub import DatasetCard, hf_hub_download

from memshield.errors import UserError
from memshield.hub.catalog.access import FIELDS
from memshield.hub.catalog.remote import RemoteFiles

_FIELD = FIELDS["dataset"]
# The library reads the second over the first.
_CARDS = ("README.md", ".huggingface.yaml")
_LARGEST_CARD = 8 * 2**20
_MOST_PATTERNS = 10_000
# A list of splits, each a mapping, each with a list of patterns.
_DEPTH = 3


def require_own_files(remote: RemoteFiles) -> None:
    """Read the card, and look at every path and pattern in its configurations.

    Args:
        remote: the repository, which this token may read.

    Raises:
        UserError: one leads out of the repository, or the card cannot be read.
        OSError: the Hub's own refusals, and no answer.
    """
    for card in _CARDS:
        if card not in remote.sizes:
            continue
        where = f"{card} of {remote.id}"
        if remote.sizes[card] > _LARGEST_CARD:
            raise UserError(_FIELD, f"{where} is too large for a card", "Choose another dataset.")
        path = hf_hub_download(
            remote.id, card, repo_type="dataset", revision=remote.sha, token=remote.token
        )
        patterns = list(islice(_patterns(_read(Path(path), where)), _MOST_PATTERNS + 1))
        if len(patterns) > _MOST_PATTERNS:
            raise UserError(_FIELD, f"{where} names too many files", "Choose another dataset.")
        for pattern in patterns:
            above = ".." in PurePosixPath(pattern).parts
            if ":" in pattern or pattern.startswith(("/", "~", "\\")) or above:
                raise UserError(
                    _FIELD,
                    f"{where} takes data from outside the repository ({pattern})",
                    "Choose another dataset.",
                )


def _read(path: Path, where: str) -> Mapping[str, Any]:
    """A card as the datasets library reads it."""
    try:
        if path.suffix == ".md":
            data = DatasetCard.load(path, ignore_metadata_errors=True).data
            return dict(vars(data))
        card = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        words = " ".join(str(error).split())[:300]
        raise UserError(
            _FIELD, f"{where} is not valid YAML: {words}", "Choose another dataset or revision."
        ) from None
    return card if isinstance(card, Mapping) else {}


def _patterns(card: Mapping[str, Any]) -> Iterator[str]:
    configs = card.get("configs")
    for config in configs if isinstance(configs, list) else []:
        if isinstance(config, Mapping):
            yield from _texts(config.get("data_files"), _DEPTH)
            yield from _texts(config.get("data_dir"), _DEPTH)


def _texts(value: Any, depth: int) -> Iterator[str]:
    """Those inside, and "" for all else, so that who counts them counts what was looked at.

    YAML can nest without end, and what is deeper the library refuses; its aliases make a few lines
    as large as one likes.
    """
    yield value if isinstance(value, str) else ""
    if depth > 0 and isinstance(value, (list, Mapping)):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(one, depth - 1)
