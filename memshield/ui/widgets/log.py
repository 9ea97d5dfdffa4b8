"""The last lines of a log."""

from __future__ import annotations

import os
import re
from pathlib import Path

from memshield.redaction import redact
from memshield.ui.widgets.problems import empty_view
from memshield.ui.widgets.templates import render

MOST_BYTES = 64_000
MOST_LINES = 200
_WIDEST = 500
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)?")
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def log_view(path: Path) -> str:
    """The last lines of a log file, without tokens."""
    return log_text_view(tail(path))


def log_text_view(text: str) -> str:
    """The last lines of a text: progress bars in their last state, without tokens."""
    lines = [_last_state(line) for line in redact(text).split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        return empty_view("The log is empty", "What the training says appears here.")
    return render("log", text="\n".join(lines[-MOST_LINES:]))


def tail(path: Path) -> str:
    """The end of a file, from a whole line on; "" where there is none."""
    try:
        with path.open("rb") as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(max(0, length - MOST_BYTES))
            data = file.read(MOST_BYTES)
    except OSError:
        return ""
    if length > MOST_BYTES:
        # The first line is cut, and what is left of a token is not known for one.
        begin = re.search(rb"[\r\n]", data)
        data = data[begin.end() :] if begin else b"[a line too long to show]"
    return data.decode("utf-8", "replace")


def _last_state(line: str) -> str:
    """What a terminal would show of a line that was written over and over."""
    states = [one for one in line.split("\r") if one.strip()]
    shown = _UNSEEN.sub("", _ESCAPES.sub("", states[-1])).rstrip() if states else ""
    return shown if len(shown) <= _WIDEST else f"{shown[:_WIDEST]} …"
