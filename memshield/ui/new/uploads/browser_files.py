"""Files that gradio received from a browser: read once, then deleted."""

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
def uploaded_files(sent: object) -> Iterator[list[Path]]:
    """Yield the files of an upload, and delete them at the end, even after an error.

    gradio would keep them for a day, and serve them to anyone who knows their path.

    Args:
        sent: value of the page's input: descriptions of files, with a path each. It may be
            anything; only files in gradio's folder of uploads are listed and deleted.

    Returns:
        Their paths; [] if none is left, as when the same files are sent a second time.

    Raises:
        UserError: only some of them are there.
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
            # Named by the content's digest: it may hold another file of the same content.
            with contextlib.suppress(OSError):
                path.parent.rmdir()


def _uploaded(one: object) -> Path | None:
    """The path in a description, if it is a file where gradio stores uploads."""
    text = one.get("path") if isinstance(one, dict) else None
    if not isinstance(text, str):
        return None
    path, home = Path(text), Path(get_upload_folder()).resolve()
    try:
        # A link or dots would resolve to another path.
        is_there = path.is_absolute() and path.is_file() and path.resolve() == path
    except (OSError, ValueError):  # not a possible file name
        return None
    inside = path.parent.parent == home and _FOLDER.fullmatch(path.parent.name)
    return path if is_there and inside else None
