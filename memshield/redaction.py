"""Tokens are taken out of whatever is written: a second line behind never putting them there."""

from __future__ import annotations

import logging
import os
import re

_SHAPES = re.compile(r"\bhf_[A-Za-z0-9]{20,}|\bhf_oauth_[\w.-]{20,}|\bapi_org_[A-Za-z0-9]{20,}")
_BEARER = re.compile(r"(?i)(bearer\s+)[^\s\"']+")
_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_SHORTEST = 6
_LIBRARIES = ("huggingface_hub", "datasets", "diffusers", "transformers", "accelerate", "httpx2")
HIDDEN = "[token]"


def redact(text: str) -> str:
    """The text without anything that is a token, or looks like one of the Hub's."""
    for name in _VARIABLES:
        token = os.environ.get(name, "").strip()
        if len(token) >= _SHORTEST:
            text = text.replace(token, HIDDEN)
    return _BEARER.sub(rf"\1{HIDDEN}", _SHAPES.sub(HIDDEN, text))


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
    """Redact what is logged by this process, by the libraries that speak to the Hub as well."""
    for name in (None, *_LIBRARIES):
        for handler in logging.getLogger(name).handlers:
            if not isinstance(handler.formatter, _Redacting):
                handler.setFormatter(_Redacting(handler.formatter or logging.Formatter()))
