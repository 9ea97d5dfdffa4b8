"""Names of repositories and files, checked before anything is made of them."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id

from memshield.errors import UserError

_LOOKS = "owner/name, of letters, digits, - _ and ."


def require_repo_id(field: str, name: str) -> str:
    """A whole Hub id, owner/name; the address of a repository's page is taken for it.

    Raises:
        UserError: it is none.
    """
    text = re.sub(r"^https?://[^/]+/", "", name.strip()).rstrip("/")
    try:
        validate_repo_id(text)
    except HFValidationError:
        text = ""
    if text.count("/") != 1 or text.startswith("-"):
        raise UserError(field, f"{name!r} is not the id of a repository", f"It looks like {_LOOKS}")
    return text


def is_inside(path: str) -> bool:
    """Whether a file's path, as a repository names it, stays inside a folder."""
    parts = PurePosixPath(path).parts
    plain = path == PurePosixPath(path).as_posix() and "\\" not in path and "\0" not in path
    return bool(parts) and plain and not path.startswith("/") and ".." not in parts
