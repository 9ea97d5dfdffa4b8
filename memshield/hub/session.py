"""How publishing speaks to the Hub: with timeouts, and with one way of trying again.

huggingface_hub retries some requests, sleeping on its own, and not others. Here what may be
tried again leaves its code as an error of ours, whichever request it was, so that `patience`
decides; every step of a publication is one that can be repeated.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
from huggingface_hub import set_client_factory
from huggingface_hub.utils._http import (
    default_client_factory,
    hf_request_event_hook,
    parse_ratelimit_headers,
)

from memshield.network import TryAgainError

BUSY = (408, 425, 429, 500, 502, 503, 504)
TIMEOUT = httpx2.Timeout(connect=10.0, read=120.0, write=120.0, pool=None)
"""Seconds of silence; an upload may take as long as it needs."""
_lock = threading.Lock()
_inside: list[None] = []


@contextmanager
def steady_session() -> Iterator[None]:
    """Within, requests of huggingface_hub raise `TryAgainError` where they may be repeated.

    The library has one client a process: the last of several threads that leaves puts it back.
    """
    with _lock:
        _inside.append(None)
        if len(_inside) == 1:
            set_client_factory(_client)
    try:
        yield
    finally:
        with _lock:
            _inside.pop()
            if not _inside:
                set_client_factory(default_client_factory)


def _client() -> httpx2.Client:
    return _Client(
        event_hooks={"request": [hf_request_event_hook]}, follow_redirects=True, timeout=TIMEOUT
    )


class _Client(httpx2.Client):
    """Sends requests; answers of a busy Hub, and what is no answer, are raised."""

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        try:
            response = super().send(request, **options)
        except httpx2.TransportError as error:
            raise TryAgainError(f"no answer from the Hub ({type(error).__name__})") from error
        if response.status_code in BUSY:
            raise TryAgainError(
                f"the Hub answered {response.status_code} to {request.method} {request.url.path}",
                _retry_after(response.headers),
            )
        return response


def _retry_after(headers: httpx2.Headers) -> str | None:
    limits = parse_ratelimit_headers(headers)
    if limits is not None and limits.remaining == 0:
        return str(limits.reset_in_seconds + 1)  # told in whole seconds, rounded down
    return headers.get("retry-after")
