"""Finds a local folder of pictures, for a page at home."""

from __future__ import annotations

import os
from pathlib import Path

from memshield.errors import UserError
from memshield.paths import expanded
from memshield.ui.new.uploads.files import is_picture_name

FIELD = "folder"
MOST_LOOKED_AT = 100_000
_CONTAINERS = (".parquet", ".arrow", ".zip", ".tar", ".tar.gz", ".tgz")


def find_folder(text: str) -> Path:
    """Find the folder of pictures at a typed path.

    Args:
        text: the path; ~ stands for the home.

    Raises:
        UserError: it is not a folder, cannot be read, or holds no pictures.
    """
    if "\0" in text or len(text) > 4096:
        raise UserError(FIELD, "is not a path", "Type it again.")
    try:
        folder = expanded(text.strip()).absolute()
        exists, is_folder = folder.exists(), folder.is_dir()
    except (OSError, RuntimeError):  # a loop of links, too long a name
        raise UserError(FIELD, "is not a path", "Type it again.") from None
    if not exists:
        raise UserError(FIELD, f"{folder} does not exist", "Check the path.")
    if not is_folder:
        raise UserError(FIELD, f"{folder} is a file", "Name the folder that contains it.")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise UserError(
            FIELD, f"{folder} cannot be read", "Change its permissions, or copy the pictures."
        )
    if not _holds_pictures(folder):
        raise UserError(
            FIELD,
            f"there are no pictures in {folder}",
            "Name a folder with png, jpg or webp files, or with a parquet, zip or tar file of "
            "pictures.",
        )
    return folder


def _holds_pictures(folder: Path) -> bool:
    seen = 0
    for _, _, names in os.walk(folder):
        for name in names:
            if is_picture_name(name) or name.lower().endswith(_CONTAINERS):
                return True
        seen += len(names)
        if seen > MOST_LOOKED_AT:
            return True  # decided when it is opened
    return False
