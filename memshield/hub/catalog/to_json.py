"""What was found, for machines."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def to_json(found: DataclassInstance) -> str:
    """The attributes of a page or description, by name; times in ISO 8601."""
    return json.dumps(asdict(found), indent=1, default=_time)


def _time(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"no JSON for {type(value).__name__}")
