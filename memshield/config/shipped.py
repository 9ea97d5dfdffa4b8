"""The recipes and model configs that come with MemShield, in a checkout or installed."""

from __future__ import annotations

from pathlib import Path

from memshield.paths import expanded

_PACKAGE = Path(__file__).resolve().parents[1]
FOLDER = "configs"
APP_ROOT = _PACKAGE.parent if (_PACKAGE.parent / FOLDER).is_dir() else _PACKAGE / "shipped"
"""The folder in which configs/ lies: the checkout, or package data where there is none."""


def find_shipped(name: str) -> Path:
    """The file that a path names; paths that begin with configs/ work from any folder.

    A file of that path in the current folder comes first.

    Args:
        name: a path as a person writes it.
    """
    path = expanded(name)
    is_ours = path.parts[:1] == (FOLDER,) and ".." not in path.parts
    own = APP_ROOT / path
    return own if is_ours and not path.exists() and own.exists() else path
