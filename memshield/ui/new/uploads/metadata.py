"""Reads the captions in an upload: a metadata file, or a text file beside each picture."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memshield.data.columns import CAPTION_NAMES, LABEL_NAMES
from memshield.errors import UserError
from memshield.ui.new.uploads.files import FIELD

METADATA_NAMES = ("metadata.csv", "metadata.jsonl")
LONGEST_CAPTION = 4000
"""Characters; text encoders read a few hundred."""
_NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_FILE_NAME = "file_name"
_MOST_COLUMNS = 32
_REMEDY = "A line names a picture as file_name, and its caption as text."


@dataclass(frozen=True)
class Described:
    """What a line of metadata says of a picture.

    Attributes:
        file: name of the picture, as it was uploaded.
        caption, label: None if the file has no such column.
    """

    file: str
    caption: str | None
    label: str | None


def read_metadata(content: bytes, name: str) -> list[Described]:
    """Read the captions and classes in a metadata file; other columns are not used.

    Args:
        content: of the file.
        name: metadata.csv or metadata.jsonl.

    Raises:
        UserError: it cannot be read.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(FIELD, f"{name} is not UTF-8 text", "Save it as UTF-8.") from None
    found: dict[str, Described] = {}
    for number, row in _rows(text, name):
        file = row.get(_FILE_NAME)
        if not isinstance(file, str) or not file:
            raise UserError(FIELD, f"{name}, line {number}: there is no file_name", _REMEDY)
        file = file.removeprefix("./")
        if file in found:
            raise UserError(FIELD, f"{name}, line {number}: {file[:100]!r} occurs twice", _REMEDY)
        caption = _value(row, CAPTION_NAMES)
        if caption is not None:
            caption = clean_caption(caption, f"{name}, line {number}")
        found[file] = Described(file, caption, _value(row, LABEL_NAMES))
    if not found:
        raise UserError(FIELD, f"{name} is empty", _REMEDY)
    return list(found.values())


def read_caption(content: bytes, name: str) -> str:
    """Read a text file that holds the caption of the picture beside it.

    Raises:
        UserError: it is not UTF-8, or too long.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(FIELD, f"{name} is not UTF-8 text", "Save it as UTF-8.") from None
    return clean_caption(text, name)


def clean_caption(text: str, name: str) -> str:
    """Remove blanks around a caption, and what is no text in it.

    Args:
        text: the caption.
        name: of its place, for the error.

    Raises:
        UserError: it is too long.
    """
    plain = _NO_TEXT.sub(" ", text.replace("\r\n", "\n")).strip()
    if len(plain) > LONGEST_CAPTION:
        raise UserError(
            FIELD,
            f"{name}: the caption is longer than {LONGEST_CAPTION} characters",
            "Shorten it.",
        )
    return plain


def _value(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first column with one of these names, as text."""
    name = next((name for name in names if name in row), None)
    if name is None:
        return None
    return "" if row[name] is None else str(row[name]).strip()


def _rows(text: str, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    columns: list[str] | None = None
    for number, row in _csv(text, name) if name.endswith(".csv") else _jsonl(text, name):
        # The datasets library would open the files in such columns.
        if any(key.endswith(("_file_name", "_file_names", "file_names")) for key in row):
            raise UserError(
                FIELD, f"{name}, line {number}: names other files than one picture", _REMEDY
            )
        if columns is None:
            columns = sorted(row)
            if len(columns) > _MOST_COLUMNS:
                raise UserError(FIELD, f"{name} has more than {_MOST_COLUMNS} columns", _REMEDY)
        if sorted(row) != columns or not all(
            value is None or isinstance(value, (str, int, float)) for value in row.values()
        ):
            raise UserError(
                FIELD,
                f"{name}, line {number}: differs in its columns, or holds lists",
                "Every line has the same columns, with a text or a number in each.",
            )
        yield number, row


def _csv(text: str, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                line = f"{name}, line {reader.line_num}"
                raise UserError(FIELD, f"{line}: differs in its number of columns", _REMEDY)
            yield reader.line_num, row
    except csv.Error as error:
        raise UserError(FIELD, f"{name}, line {reader.line_num}: {error}", _REMEDY) from None


def _jsonl(text: str, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    # Not splitlines: JSON strings may contain its other line ends.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_constant=_refuse)
            # Fails for half of a surrogate pair, which is not text.
            json.dumps(row, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise UserError(FIELD, f"{name}, line {number}: is not a JSON object", _REMEDY)
        yield number, row


def _refuse(constant: str) -> None:
    # NaN and Infinity, which are not JSON.
    raise ValueError(constant)
