"""Adds uploaded files to a tray: what cannot be used is left out, and said."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from memshield.errors import UserError, collect_errors
from memshield.rundir import bytes_in
from memshield.ui.new.uploads.archive import from_zip
from memshield.ui.new.uploads.checked_picture import check_picture
from memshield.ui.new.uploads.files import (
    FIELD,
    UploadedFile,
    from_file,
    is_picture_name,
    safe_name,
)
from memshield.ui.new.uploads.metadata import (
    METADATA_NAMES,
    Described,
    read_caption,
    read_metadata,
)
from memshield.ui.new.uploads.tray import Tray, TrayPicture

_ABANDONED_S = 3600
_FEWER = "Add fewer or smaller pictures, or delete uploads that you do not need any more."
_OTHER_FORMATS = ("heic", "heif", "avif", "jxl", "svg", "psd", "dng")
_TEXT = ".txt"
_MOST_TEXT = 2**20
_NAMED = 5
"""Names in one sentence."""


@dataclass(frozen=True)
class UploadLimits:
    """The limits of a tray.

    Attributes:
        pictures: number of pictures.
        file_bytes: size of a picture.
        bytes: size of all pictures.
        owner_bytes: size of all uploads of an owner.
        seconds: time to decode what was uploaded at once.
    """

    pictures: int = 5000
    file_bytes: int = 32 * 2**20
    bytes: int = 2 * 2**30
    owner_bytes: int = 4 * 2**30
    seconds: float = 300.0


@dataclass(frozen=True)
class Added:
    """What became of an upload.

    Attributes:
        added: number of new pictures.
        already: number of pictures that were in the tray under the same name.
        captioned: number of pictures, new or not, that a file gave a caption or class.
        left_out: why other files were left out, a sentence each without its full stop.
    """

    added: int
    already: int
    captioned: int
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _Captions:
    """What one file says of pictures.

    Attributes:
        file: its name.
        group: number of the zip; 0 for loose files.
        described: by it.
    """

    file: str
    group: int
    described: list[Described]


def add_files(files: Sequence[Path], home: Path, limits: UploadLimits | None = None) -> Added:
    """Check uploaded files, and add them to the tray.

    Args:
        files: pictures, zips of them, and their captions: metadata.csv or metadata.jsonl, or a
            text file of a picture's name. Captions may come later than their pictures.
        home: `Folders.uploads` of the owner.
        limits: by default those of `UploadLimits`.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    _sweep(home)
    staged = home / f".{secrets.token_hex(16)}.tmp"
    staged.mkdir(mode=0o700)
    try:
        return _Adding(Tray(home), home, staged, limits or UploadLimits()).add(files)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _sweep(home: Path) -> None:
    """Delete unfinished uploads of a server that was killed."""
    for left in home.glob(".*.tmp"):
        if time.time() - left.stat().st_mtime > _ABANDONED_S:
            shutil.rmtree(left, ignore_errors=True)


class _Adding:
    def __init__(self, tray: Tray, home: Path, staged: Path, limits: UploadLimits) -> None:
        self._tray = tray
        self._staged = staged
        self._small = staged / "small"
        self._small.mkdir()
        self._limits = limits
        there = tray.pictures()
        self._there = {(one.name, one.sha256) for one in there}
        self._places = limits.pictures - len(there)
        self._room = max(0, min(
            limits.bytes - sum(one.bytes for one in there),
            limits.owner_bytes - bytes_in(home),
            shutil.disk_usage(home).free,
        ))  # fmt: skip
        self._ends = time.monotonic() + limits.seconds
        self._errors: list[UserError] = []
        self._arrived: list[TrayPicture] = []
        self._groups: list[int] = []
        self._already = 0
        self._captions: list[_Captions] = []

    def add(self, files: Sequence[Path]) -> Added:
        loose = [file for file in files if file.suffix.lower() != ".zip"]
        self._take([from_file(file) for file in loose], 0)
        # Room for captions, and for as many entries that are not pictures, such as folders.
        most = 2 * self._limits.pictures + 16
        for group, file in enumerate((file for file in files if file not in loose), 1):
            with collect_errors(self._errors), ExitStack() as stack:
                self._take(stack.enter_context(from_zip(file, most)), group)
        if not (self._arrived or self._captions):
            return self._added(0)
        described = 0

        def describe(pictures: list[TrayPicture]) -> list[TrayPicture]:
            nonlocal described
            pictures, described = self._describe(pictures)
            return pictures

        self._tray.add(self._staged, self._arrived, describe)
        return self._added(described)

    def _added(self, described: int) -> Added:
        problems = tuple(dict.fromkeys(error.problem for error in self._errors))
        return Added(len(self._arrived), self._already, described, problems)

    def _take(self, files: Sequence[UploadedFile], group: int) -> None:
        """Keep what can be used of loose files or of a zip."""
        stems = {str(PurePosixPath(one.name).with_suffix("")) for one in self._named(files)}
        metadata = ""
        for one in sorted(files, key=lambda one: one.name):
            with collect_errors(self._errors):
                if one.name in METADATA_NAMES:
                    if metadata:
                        problem = f"{one.name} was not read, for there is {metadata} as well"
                        raise UserError(FIELD, problem, "Keep one of them.")
                    metadata = one.name
                    found = read_metadata(one.read(self._limits.file_bytes), one.name)
                    self._captions.append(_Captions(one.name, group, found))
                elif one.name.lower().endswith(_TEXT):
                    self._take_text(one, group, stems)
                else:
                    self._take_picture(one, group)

    @staticmethod
    def _named(files: Sequence[UploadedFile]) -> Iterator[UploadedFile]:
        return (one for one in files if is_picture_name(one.name))

    def _take_text(self, file: UploadedFile, group: int, stems: set[str]) -> None:
        path = safe_name(file.name)
        stem = str(path.with_suffix(""))
        names = {name for name, _ in self._there}
        if stem not in stems and not any(_stem(name) == stem for name in names):
            raise UserError(
                FIELD,
                f"{file.name} is not a picture, and no picture is called {path.stem}",
                "Leave it out, or add the picture that it describes.",
            )
        caption = read_caption(file.read(_MOST_TEXT), file.name)
        self._captions.append(_Captions(file.name, group, [Described(stem, caption, None)]))

    def _take_picture(self, file: UploadedFile, group: int) -> None:
        path = safe_name(file.name)
        if not is_picture_name(file.name) or any(map(is_picture_name, path.parts[:-1])):
            other = path.suffix[1:].lower() in _OTHER_FORMATS
            kind = (
                f"{path.suffix[1:].upper()}, which is not read here" if other else "not a picture"
            )
            raise UserError(FIELD, f"{file.name} is {kind}", "Save it as PNG or JPEG.")
        if time.monotonic() > self._ends:
            problem = f"there was no time left to check {file.name}"
            raise UserError(FIELD, problem, "Add it again.")
        content = file.read(self._limits.file_bytes)
        checked = check_picture(content, file.name)
        if (file.name, checked.sha256) in self._there:
            self._already += 1
            return
        if len(self._arrived) >= self._places:
            problem = f"{file.name} is one too many: there is room for {self._limits.pictures}"
            raise UserError(FIELD, problem, _FEWER)
        if len(content) > self._room:
            problem = f"{file.name} did not fit: there is room for {self._room / 1e6:.0f} MB more"
            raise UserError(FIELD, problem, _FEWER)
        self._room -= len(content)
        stem = f"{len(self._arrived):06d}"
        name = f"{stem}{path.suffix.lower()}"
        (self._staged / name).write_bytes(content)
        (self._small / f"{stem}.webp").write_bytes(checked.thumbnail)
        (self._small / f"{stem}.rgb").write_bytes(checked.colours)
        # A folder names a class.
        label = path.parent.name
        self._arrived.append(TrayPicture(
            name, file.name, checked.width, checked.height, checked.frames, len(content),
            checked.sha256, label=label,
        ))  # fmt: skip
        self._groups.append(group)
        self._there.add((file.name, checked.sha256))

    def _describe(self, pictures: list[TrayPicture]) -> tuple[list[TrayPicture], int]:
        """Add what files say of pictures, and count the pictures that they say it of.

        A file describes the pictures that came with it first, and otherwise the latest of a name.
        """
        pictures = list(pictures)
        first = len(pictures) - len(self._arrived)
        groups = [-1] * first + self._groups
        touched: set[int] = set()
        # A metadata file's word counts more than a text file's.
        for source in sorted(self._captions, key=lambda one: one.file in METADATA_NAMES):
            is_text = source.file not in METADATA_NAMES
            places: dict[str, int] = {}
            order = sorted(range(len(pictures)), key=lambda i: (groups[i] == source.group, i))
            for place in order:
                name = pictures[place].name
                places[_stem(name) if is_text else name] = place
            missing = []
            for one in source.described:
                place = places.get(one.file, -1)
                if place < 0:
                    missing.append(one.file)
                    continue
                known = pictures[place]
                caption = known.caption if one.caption is None else one.caption
                label = known.label if one.label is None else one.label
                pictures[place] = replace(known, caption=caption, label=label)
                touched.add(place)
            if missing:
                self._errors.append(UserError(FIELD, _unknown(source.file, missing)))
        return pictures, len(touched)


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _unknown(file: str, names: list[str]) -> str:
    shown = ", ".join(repr(name[:60]) for name in names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{file} describes {shown}{more}, which {'is' if len(names) == 1 else 'are'} not here"
