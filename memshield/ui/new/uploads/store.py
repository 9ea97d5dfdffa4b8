"""Stores uploaded pictures: checks each of them, and keeps owners apart."""

from __future__ import annotations

import re
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from memshield.errors import UserError, UserErrors, collect_errors
from memshield.rundir import bytes_in
from memshield.ui.new.uploads.archive import from_zip
from memshield.ui.new.uploads.files import (
    FIELD,
    UploadedFiles,
    from_files,
    is_picture_name,
    require_picture,
    safe_name,
)
from memshield.ui.new.uploads.metadata import METADATA_NAMES, convert_metadata

_NAME = re.compile(r"[0-9a-f]{32}")
_PROBLEMS_SHOWN = 20
_ABANDONED_S = 3600
_FEWER = "Upload fewer or smaller pictures."


@dataclass(frozen=True)
class UploadLimits:
    """The limits of an upload.

    Attributes:
        pictures: number of pictures.
        file_bytes: size of a picture.
        bytes: size of all files, unpacked.
        owner_bytes: size of all uploads of an owner.
        seconds: time to decode all pictures.
    """

    pictures: int = 5000
    file_bytes: int = 32 * 2**20
    bytes: int = 2 * 2**30
    owner_bytes: int = 4 * 2**30
    seconds: float = 300.0


def accept_upload(files: Sequence[Path], home: Path, limits: UploadLimits | None = None) -> Path:
    """Check uploaded files and copy them to where trainings may read them.

    Args:
        files: pictures, and a metadata.csv or metadata.jsonl for captions; or one zip of these.
        home: `Folders.uploads` of the owner.
        limits: by default those of `UploadLimits`.

    Returns:
        A folder of a random name in `home`, for `train_data_dir`.

    Raises:
        UserErrors: naming up to twenty refused files; nothing is kept then.
    """
    limits = limits or UploadLimits()
    zipped = [file for file in files if file.suffix.lower() == ".zip"]
    if not files:
        raise UserError(FIELD, "no files were uploaded", "Choose pictures, or one zip of them.")
    if zipped and len(files) > 1:
        raise UserError(
            FIELD, f"{zipped[0].name} is not the only file", "Upload one zip, or loose pictures."
        )
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    _sweep(home)
    target = home / secrets.token_hex(16)
    aside = home / f".{target.name}.tmp"
    aside.mkdir(mode=0o700)
    try:
        left = limits.owner_bytes - bytes_in(home)
        most = min(limits.bytes, left, shutil.disk_usage(home).free)
        # Room for metadata, and for as many entries that are not pictures, such as folders.
        room = (2 * limits.pictures + 16, max(0, most))
        uploaded = from_zip(zipped[0], *room) if zipped else from_files(files, *room)
        _keep(uploaded, aside, limits)
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def find_upload(home: Path, name: str) -> Path:
    """Find an upload by the name of its folder.

    Args:
        home: `Folders.uploads` of the owner.
        name: of the folder.

    Raises:
        UserError: the owner has none of that name.
    """
    folder = home / name
    if not _NAME.fullmatch(name) or not folder.is_dir():
        raise UserError(FIELD, "these pictures are not here any more", "Upload them again.")
    return folder


def _sweep(home: Path) -> None:
    """Delete unfinished uploads of a server that was killed."""
    for left in home.glob(".*.tmp"):
        if time.time() - left.stat().st_mtime > _ABANDONED_S:
            shutil.rmtree(left, ignore_errors=True)


def _keep(uploaded: UploadedFiles, folder: Path, limits: UploadLimits) -> None:
    """Write all files into a folder, or refuse them all."""
    errors: list[UserError] = []
    # Stored names by uploaded name. Pictures are numbered: the datasets library would put
    # test-1.png into another split.
    kept: dict[str, str] = {}
    ends = time.monotonic() + limits.seconds
    with uploaded:
        metadata = [name for name in uploaded.names() if name in METADATA_NAMES]
        others = sorted(name for name in uploaded.names() if name not in METADATA_NAMES)
        if sum(map(is_picture_name, others)) > limits.pictures:
            raise UserError(
                FIELD,
                f"there are more than {limits.pictures} pictures",
                "Upload fewer, or put them into a dataset on the Hub.",
            )
        for name in others:
            if time.monotonic() > ends:
                errors.append(UserError(FIELD, "the pictures take too long to decode", _FEWER))
            if len(errors) >= _PROBLEMS_SHOWN or time.monotonic() > ends:
                break
            with collect_errors(errors):
                path = safe_name(name)
                if not is_picture_name(name) or any(map(is_picture_name, path.parts[:-1])):
                    raise UserError(FIELD, f"{name} is not a picture", "Leave it out.")
                content = uploaded.read(name, limits.file_bytes)
                require_picture(content, name)
                # Folders stay: they name classes.
                path = path.with_name(f"{len(kept):06d}{path.suffix.lower()}")
                (folder / path.parent).mkdir(parents=True, exist_ok=True, mode=0o700)
                (folder / path).write_bytes(content)
                kept[name] = path.as_posix()
        if not errors and not kept:
            errors.append(UserError(FIELD, "there are no pictures in the upload", "Add some."))
        if len(metadata) > 1:
            errors.append(
                UserError(FIELD, f"there are both {' and '.join(metadata)}", "Keep one of them.")
            )
        if not errors and metadata:
            content = uploaded.read(metadata[0], limits.file_bytes)
            text = convert_metadata(content, metadata[0], kept)
            (folder / "metadata.jsonl").write_text(text, encoding="utf-8")
    if errors:
        raise UserErrors(errors)
