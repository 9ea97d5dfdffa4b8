"""The splits that a dataset's card declares. What a card says is its author's claim."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEFAULT = "default"


def declared_splits(card: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Rows by split by configuration, from `dataset_info`; {} where the card has none.

    Entries of another form than the datasets library writes are left out.
    """
    entry = card.get("dataset_info")
    found: dict[str, dict[str, int]] = {}
    for one in entry if isinstance(entry, list) else [entry]:
        if not isinstance(one, Mapping) or not isinstance(one.get("splits"), list):
            continue
        splits = {
            str(split["name"]): split["num_examples"]
            for split in one["splits"]
            if isinstance(split, Mapping)
            and "name" in split
            and isinstance(split.get("num_examples"), int)
        }
        if splits:
            found[str(one.get("config_name", DEFAULT))] = splits
    return found


def declared_rows(card: Mapping[str, Any]) -> int | None:
    """Rows of the default configuration, or else the first, all splits together."""
    declared = declared_splits(card)
    if not declared:
        return None
    chosen = declared.get(DEFAULT) or next(iter(declared.values()))
    return sum(chosen.values())
