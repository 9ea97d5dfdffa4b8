"""Files that gradio took from a browser: read once, and gone from its folder then."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gradio.utils import get_upload_folder

from memshield.errors import UserError
from memshield.ui.new.uploads.files import FIELD

_FOLDER = re.compile(r"[0-9a-f]{64}")


@contextmanager
def received(sent: object) -> Iterator[list[Path]]:
    """The files of an upload; at the end they are deleted, whatever became of them.

    gradio would keep them for a day, and serve them to whoever can name their path.

    Args:
        sent: what the page's input holds: descriptions of files, with a path each. It may be
            anything, and no file elsewhere than where gradio puts uploads is listed or deleted.

    Returns:
        Their paths; [] where none is left, as when the same files are sent a second time.

    Raises:
        UserError: some of them are there and others are not.
    """
    listed = sent if isinstance(sent, list) else []
    paths = [path for one in listed if (path := _uploaded(one)) is not None]
    try:
        if paths and len(paths) < len(listed):
            raise UserError(FIELD, "not all of the files have arrived", "Upload them again.")
        yield paths
    finally:
        for path in paths:
            path.unlink(missing_ok=True)
            # Of its content's digest: another file of the same content may be in it.
            with contextlib.suppress(OSError):
                path.parent.rmdir()


def _uploaded(one: object) -> Path | None:
    """The path in a description, if a file lies there as gradio lays uploads down."""
    text = one.get("path") if isinstance(one, dict) else None
    if not isinstance(text, str):
        return None
    path, home = Path(text), Path(get_upload_folder()).resolve()
    try:
        # Resolved, a link or dots lead to where they lead.
        is_there = path.is_absolute() and path.is_file() and path.resolve() == path
    except (OSError, ValueError):  # a name that no file has
        return None
    inside = path.parent.parent == home and _FOLDER.fullmatch(path.parent.name)
    return path if is_there and inside else None
