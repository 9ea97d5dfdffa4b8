"""Pictures that a visitor uploads for an audit: they add up, apart from those for a training."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from memshield.errors import UserError
from memshield.rundir import bytes_in
from memshield.ui.audits.audited import FOLDER
from memshield.ui.new.uploads.adding import Added, UploadLimits, add_files
from memshield.ui.new.uploads.browser_files import uploaded_files
from memshield.ui.new.uploads.tray import Tray

_NAME = re.compile(r"[0-9a-f]{16}")


def keep_upload(sent: object, uploads: Path, name: object) -> tuple[str, Added]:
    """Keep what a browser sent.

    Args:
        sent: value of the input, of any type.
        uploads: of the owner.
        name: of what was uploaded before, to which it is added; "" for nothing yet.

    Returns:
        The name, and what became of the files.
    """
    name = name if _is_name(name) else secrets.token_hex(8)
    home = uploads / FOLDER / str(name)
    used = bytes_in(uploads) - bytes_in(home)
    with uploaded_files(sent) as paths:
        limits = UploadLimits(owner_bytes=max(0, UploadLimits.owner_bytes - used))
        # Without any, they were sent twice, and taken already.
        added = add_files(paths, home, limits) if paths else Added(0, 0, 0, ())
    return str(name), added


def uploaded(uploads: Path, name: object) -> Path:
    """The pictures of an upload as they are now, in a folder that stays as it is.

    Args:
        uploads: of the owner.
        name: of the upload, of any type.

    Raises:
        UserError: the owner has none of that name.
    """
    if not name:
        raise UserError("upload", "there are no pictures yet", "Upload some.")
    if not _is_name(name) or not (uploads / FOLDER / str(name)).is_dir():
        raise UserError("upload", "these pictures are not here any more", "Upload them again.")
    return Tray(uploads / FOLDER / str(name)).for_training()


def _is_name(name: object) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None
