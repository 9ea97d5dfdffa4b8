"""The picture tray of an owner: what was uploaded so far, with its captions.

tray/                  in the folder of the owner's uploads
  tray.json            the pictures in order, and the number of the next one
  pictures/            the files, by number
  small/               a thumbnail of each, and the colours that duplicates are found by
  planned/<name>/      the pictures with their captions, for a plan, until the tray changes
<name>/                the same for a training, which the tray's changes do not reach

The name is made from the pictures and captions. Copies share the files where the disk can do that.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from memshield.errors import UserError
from memshield.rundir import write_text
from memshield.ui.new.uploads.files import FIELD
from memshield.ui.new.uploads.metadata import METADATA_NAMES, clean_caption

_NAME = "tray"
_ID = re.compile(r"[0-9]{6,}")
_METADATA = METADATA_NAMES[1]
_LIST = "tray.json"
# Changes take milliseconds, all but a copy for a training.
_LOCK = threading.RLock()


@dataclass(frozen=True)
class TrayPicture:
    """A picture in the tray.

    Attributes:
        file: its name in the folder of pictures; the stem is its id.
        name: of the visitor's file.
        width, height: in pixels.
        frames: whether it has several, of which the first is used.
        bytes: size of the file.
        sha256: of its pixels.
        caption: "" for none.
        label: its class; "" for none.
    """

    file: str
    name: str
    width: int
    height: int
    frames: bool
    bytes: int
    sha256: str
    caption: str = ""
    label: str = ""

    @property
    def id(self) -> str:
        """Of the picture: never that of another one, before or after it."""
        return self.file.partition(".")[0]


class Tray:
    """The tray in a folder; another object for the same folder is the same tray.

    Args:
        home: `Folders.uploads` of the owner.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._root = home / _NAME
        self._files = self._root / "pictures"
        self.planned = self._root / "planned"
        """Holds the folder that a plan reads."""

    def pictures(self) -> list[TrayPicture]:
        """The pictures, in order; [] for none."""
        return self._read()[0]

    def small(self, picture: TrayPicture, kind: str) -> Path:
        """A file made of a picture: `webp`, its thumbnail, or `rgb`, its colours."""
        return self._root / "small" / f"{picture.id}.{kind}"

    def add(
        self,
        staged: Path,
        arrived: Sequence[TrayPicture],
        described: Callable[[list[TrayPicture]], list[TrayPicture]] = list,
    ) -> list[TrayPicture]:
        """Move checked pictures into the tray, under numbers of its own.

        Args:
            staged: holds each picture's file; a folder `small` holds what is made of them.
            arrived: the pictures.
            described: adds captions to all pictures, old and new.

        Returns:
            All pictures.
        """
        with _LOCK:
            pictures, number = self._read()
            (self._root / "small").mkdir(parents=True, exist_ok=True, mode=0o700)
            self._files.mkdir(exist_ok=True, mode=0o700)
            for one in arrived:
                file = f"{number:06d}{Path(one.file).suffix}"
                made = replace(one, file=file)
                (staged / one.file).rename(self._files / file)
                for kind in ("webp", "rgb"):
                    (staged / "small" / f"{one.id}.{kind}").rename(self.small(made, kind))
                pictures.append(made)
                number += 1
            pictures = described(pictures)
            self._write(pictures, number)
            return pictures

    def remove(self, ids: Iterable[str]) -> list[TrayPicture]:
        """Delete pictures, and return them; ids of none are passed over."""
        with _LOCK:
            pictures, number = self._read()
            wanted = set(ids)
            removed = [one for one in pictures if one.id in wanted]
            if removed:
                self._write([one for one in pictures if one.id not in wanted], number)
            for one in removed:
                for file in (
                    self._files / one.file,
                    self.small(one, "webp"),
                    self.small(one, "rgb"),
                ):
                    file.unlink(missing_ok=True)
            return removed

    def describe(self, captions: Mapping[str, str]) -> list[TrayPicture]:
        """Change captions by id, and return the pictures that changed.

        Raises:
            UserError: one is too long; the others are kept.
        """
        with _LOCK:
            pictures, number = self._read()
            changed, wrong = [], None
            for place, one in enumerate(pictures):
                if one.id not in captions:
                    continue
                try:
                    caption = clean_caption(captions[one.id], one.name)
                except UserError as error:
                    wrong = error
                    continue
                if caption != one.caption:
                    pictures[place] = replace(one, caption=caption)
                    changed.append(pictures[place])
            if changed:
                self._write(pictures, number)
            if wrong is not None:
                raise wrong
            return changed

    def name(self) -> str:
        """Made from the pictures and captions; "" for an empty tray."""
        return _name(self.pictures())

    def for_plan(self) -> Path:
        """A folder of the pictures as they are now, which goes when the tray changes.

        Raises:
            UserError: there are no pictures.
        """
        return self._copy(self.planned)

    def for_training(self) -> Path:
        """A folder of the pictures as they are now, which changes of the tray leave as it is.

        Raises:
            UserError: there are no pictures.
        """
        return self._copy(self._home)

    def _copy(self, place: Path) -> Path:
        with _LOCK:
            pictures = self.pictures()
            if not pictures:
                raise _gone()
            target = place / _name(pictures)
            if target.is_dir():
                return target
            aside = self._home / f".{target.name}.tmp"
            shutil.rmtree(aside, ignore_errors=True)  # of a server that was killed
            aside.mkdir(mode=0o700)
            try:
                for one in pictures:
                    _link(self._files / one.file, aside / one.file)
                _write_metadata(aside, pictures)
                place.mkdir(exist_ok=True, mode=0o700)
                aside.rename(target)
            except FileNotFoundError:  # all uploads are being deleted
                raise _gone() from None
            finally:
                shutil.rmtree(aside, ignore_errors=True)
            return target

    def _read(self) -> tuple[list[TrayPicture], int]:
        """The pictures, and the number of the next one."""
        try:
            held: dict[str, Any] = json.loads((self._root / _LIST).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return [], 0
        return [TrayPicture(**one) for one in held["pictures"]], held["next"]

    def _write(self, pictures: Sequence[TrayPicture], number: int) -> None:
        held = {"next": number, "pictures": [asdict(one) for one in pictures]}
        write_text(self._root / _LIST, json.dumps(held))
        shutil.rmtree(self.planned, ignore_errors=True)


def copies(pictures: Sequence[TrayPicture]) -> dict[str, TrayPicture]:
    """The first picture of the same pixels, by the id of each later one."""
    first: dict[str, TrayPicture] = {}
    return {
        one.id: first[one.sha256]
        for one in pictures
        if first.setdefault(one.sha256, one) is not one
    }


def is_picture_id(text: object) -> bool:
    """Whether a picture could have this id."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def _name(pictures: Sequence[TrayPicture]) -> str:
    if not pictures:
        return ""
    text = json.dumps([(one.file, one.sha256, one.caption, one.label) for one in pictures])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _gone() -> UserError:
    return UserError(FIELD, "these pictures are not here any more", "Upload them again.")


def _write_metadata(folder: Path, pictures: Sequence[TrayPicture]) -> None:
    """Write captions and classes where the datasets library reads them; no file without either."""
    captions = any(one.caption for one in pictures)
    labels = len({one.label for one in pictures if one.label}) > 1
    lines = []
    for one in pictures:
        row: dict[str, str | None] = {"file_name": one.file}
        if captions:
            row["text"] = one.caption
        if labels:
            row["label"] = one.label or None
        lines.append(json.dumps(row) + "\n")
    if captions or labels:
        write_text(folder / _METADATA, "".join(lines))


def _link(source: Path, target: Path) -> None:
    with contextlib.suppress(FileExistsError):
        try:
            os.link(source, target)
        except FileNotFoundError:
            raise
        except OSError:  # a bucket, for example, has no links
            shutil.copyfile(source, target)
