"""Checks the metadata file of an upload, and rewrites it as JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from memshield.errors import UserError
from memshield.ui.new.uploads.files import FIELD

METADATA_NAMES = ("metadata.csv", "metadata.jsonl")
_FILE_NAME = "file_name"
_MOST_COLUMNS = 32
_REMEDY = "A line names a picture as file_name, and its caption as text."


def convert_metadata(content: bytes, name: str, pictures: Mapping[str, str]) -> str:
    """Convert metadata to JSON lines.

    Args:
        content: of the file.
        name: metadata.csv or metadata.jsonl.
        pictures: stored names of the pictures, by their uploaded names.

    Raises:
        UserError: it cannot be read, or names a file that is not among the pictures.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(FIELD, f"{name} is not UTF-8 text", "Save it as UTF-8.") from None
    lines = []
    named: set[str] = set()
    for number, row in _rows(text, name):
        file = row.get(_FILE_NAME)
        if not isinstance(file, str) or not file:
            raise UserError(FIELD, f"{name}, line {number}: there is no file_name", _REMEDY)
        file = file.removeprefix("./")
        if file not in pictures:
            raise UserError(
                FIELD, f"{name}, line {number}: {file[:100]!r} is not among the pictures", _REMEDY
            )
        if file in named:
            raise UserError(FIELD, f"{name}, line {number}: {file[:100]!r} occurs twice", _REMEDY)
        named.add(file)
        lines.append(json.dumps({**row, _FILE_NAME: pictures[file]}))
    if not lines:
        raise UserError(FIELD, f"{name} is empty", _REMEDY)
    return "\n".join(lines) + "\n"


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
