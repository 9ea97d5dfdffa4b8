"""Paths as people write them."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """A path with ~ as the home folder; one of a user that there is not stays as it is."""
    # pathlib's own ends in an error there.
    return Path(os.path.expanduser(path))
