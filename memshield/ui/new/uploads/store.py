"""Pictures that a visitor uploads: checked one by one, and kept apart by owner."""

from __future__ import annotations

import re
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from memshield.errors import UserError, UserErrors
from memshield.ui.new.uploads.archive import from_zip
from memshield.ui.new.uploads.files import FIELD, Incoming, from_files, safe_name
from memshield.ui.new.uploads.metadata import METADATA_NAMES, checked_metadata
from memshield.ui.new.uploads.pictures import is_picture_name, require_picture

_NAME = re.compile(r"[0-9a-f]{32}")
_PROBLEMS_SHOWN = 20
_ABANDONED_S = 3600
_FEWER = "Upload fewer or smaller pictures."


@dataclass(frozen=True)
class Limits:
    """What an upload may be.

    Attributes:
        pictures: how many.
        file_bytes: of a picture.
        bytes: of all files together, unpacked.
        owner_bytes: of all uploads of an owner.
        seconds: to decode all of them.
    """

    pictures: int = 5000
    file_bytes: int = 32 * 2**20
    bytes: int = 2 * 2**30
    owner_bytes: int = 4 * 2**30
    seconds: float = 300.0


def accept_upload(files: Sequence[Path], home: Path, limits: Limits | None = None) -> Path:
    """Check uploaded files and copy them to where trainings may read them.

    Args:
        files: pictures, with a metadata.csv or metadata.jsonl for captions if there is one; or one
            zip of these. Their own names count.
        home: `Folders.uploads` of whose they are.
        limits: by default those of `Limits`.

    Returns:
        A folder of a random name in `home`, for `train_data_dir`.

    Raises:
        UserErrors: naming every file that is not taken, up to twenty; nothing is kept then.
    """
    limits = limits or Limits()
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
        left = limits.owner_bytes - _size(home)
        most = min(limits.bytes, left, shutil.disk_usage(home).free)
        # Metadata is one more file; as many again are let pass that are nothing, such as folders.
        room = (2 * limits.pictures + 16, max(0, most))
        incoming = from_zip(zipped[0], *room) if zipped else from_files(files, *room)
        _keep(incoming, aside, limits)
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def find_upload(home: Path, name: str) -> Path:
    """An upload by the last part of its path.

    Args:
        home: `Folders.uploads` of whose it is.
        name: of its folder.

    Raises:
        UserError: this owner has none of that name.
    """
    folder = home / name
    if not _NAME.fullmatch(name) or not folder.is_dir():
        raise UserError(FIELD, "these pictures are not here any more", "Upload them again.")
    return folder


def delete_upload(home: Path, name: str) -> None:
    """Delete an upload; the arguments are those of `find_upload`.

    Raises:
        UserError: this owner has none of that name.
    """
    shutil.rmtree(find_upload(home, name))


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _sweep(home: Path) -> None:
    """Delete what a server that was killed in the middle of an upload has left."""
    for left in home.glob(".*.tmp"):
        if time.time() - left.stat().st_mtime > _ABANDONED_S:
            shutil.rmtree(left, ignore_errors=True)


def _keep(incoming: Incoming, folder: Path, limits: Limits) -> None:
    """Write what is good into a folder, and refuse all of it where something is not."""
    errors: list[UserError] = []
    # A picture by its name, and the name that it is kept under: a number, for the datasets library
    # would take test-1.png for one of another split.
    kept: dict[str, str] = {}
    ends = time.monotonic() + limits.seconds
    with incoming:
        metadata = [name for name in incoming.names() if name in METADATA_NAMES]
        others = sorted(name for name in incoming.names() if name not in METADATA_NAMES)
        if sum(map(is_picture_name, others)) > limits.pictures:
            raise UserError(
                FIELD,
                f"there are more than {limits.pictures} pictures",
                "Upload fewer, or put them into a dataset on the Hub.",
            )
        for name in others:
            if time.monotonic() > ends:
                errors.append(UserError(FIELD, "it takes too long to decode them", _FEWER))
            if len(errors) >= _PROBLEMS_SHOWN or time.monotonic() > ends:
                break
            try:
                path = safe_name(name)
                if not is_picture_name(name) or any(map(is_picture_name, path.parts[:-1])):
                    raise UserError(FIELD, f"{name} is no picture", "Leave it out.")
                content = incoming.read(name, limits.file_bytes)
                require_picture(content, name)
            except UserError as error:
                errors.append(error)
                continue
            # Folders stay: they are classes of pictures.
            path = path.with_name(f"{len(kept):06d}{path.suffix.lower()}")
            (folder / path.parent).mkdir(parents=True, exist_ok=True, mode=0o700)
            (folder / path).write_bytes(content)
            kept[name] = path.as_posix()
        if not errors and not kept:
            errors.append(UserError(FIELD, "there are no pictures in it", "Add some."))
        if len(metadata) > 1:
            errors.append(
                UserError(FIELD, f"{' and '.join(metadata)} are both there", "Keep one of them.")
            )
        if not errors and metadata:
            content = incoming.read(metadata[0], limits.file_bytes)
            text = checked_metadata(content, metadata[0], kept)
            (folder / "metadata.jsonl").write_text(text, encoding="utf-8")
    if errors:
        raise UserErrors(errors)
