"""Redacts tokens from everything that is written; a second line of defence."""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
from types import TracebackType

_SHAPES = re.compile(r"\bhf_[A-Za-z0-9]{20,}|\bhf_oauth_[\w.-]{20,}|\bapi_org_[A-Za-z0-9]{20,}")
# In a header, or long and with a digit: in a caption "bearer" is a word like others.
_BEARER = re.compile(
    r"""(?i)(authorization[\\"']*\s*[:=,]\s*b?[\\"']*bearer\s+)[^\s"'\\]+"""
    r"""|(\bbearer\s+)(?=\S*\d)[\w.~+/=-]{16,}"""
)
_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_SHORTEST = 6
_LIBRARIES = ("huggingface_hub", "datasets", "diffusers", "transformers", "accelerate", "httpx2")
HIDDEN = "[token]"
_known: set[str] = set()


def remember(token: str) -> None:
    """Redact this token from now on, whatever it looks like."""
    _known.add(token)


def forget(token: str) -> None:
    """Keep this token no longer; it is still redacted if it looks like one of the Hub's."""
    _known.discard(token)


def redact(text: str) -> str:
    """The text without anything that is a token, or looks like one of the Hub's."""
    for token in (*_known, *(os.environ.get(name, "").strip() for name in _VARIABLES)):
        if len(token) >= _SHORTEST:
            text = text.replace(token, HIDDEN)
    text = _SHAPES.sub(HIDDEN, text)
    return _BEARER.sub(lambda found: f"{found[1] or found[2]}{HIDDEN}", text)


def holds_token(text: str) -> bool:
    """Whether the text holds a token, or what looks like one."""
    return redact(text) != text


class _Redacting(logging.Formatter):
    """Formats as another formatter does, and redacts the result, tracebacks too."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return redact(self._inner.format(record))


def guard_logging() -> None:
    """Redact what this process logs, the libraries that speak to the Hub too, and tracebacks."""
    sys.excepthook = _print_redacted
    for name in (None, *_LIBRARIES):
        for handler in logging.getLogger(name).handlers:
            if not isinstance(handler.formatter, _Redacting):
                handler.setFormatter(_Redacting(handler.formatter or logging.Formatter()))


def _print_redacted(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    print(redact("".join(traceback.format_exception(kind, error, trace))), file=sys.stderr)
