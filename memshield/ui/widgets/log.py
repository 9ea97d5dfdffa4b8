"""View of the last lines of a log."""

from __future__ import annotations

import re

from memshield.redaction import redact
from memshield.ui.widgets.problems import empty_view
from memshield.ui.widgets.templates import render

MOST_LINES = 200
_WIDEST = 500
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)?")
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def log_text_view(text: str) -> str:
    """Show the last lines of a log: progress bars in their last state, without tokens."""
    lines = [_last_state(line) for line in redact(text).split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        return empty_view("The log is empty", "The output of the training appears here.")
    return render("log", text="\n".join(lines[-MOST_LINES:]))


def _last_state(line: str) -> str:
    """What a terminal would show of a line that was overwritten."""
    states = [one for one in line.split("\r") if one.strip()]
    shown = _UNSEEN.sub("", _ESCAPES.sub("", states[-1])).rstrip() if states else ""
    return shown if len(shown) <= _WIDEST else f"{shown[:_WIDEST]} …"
