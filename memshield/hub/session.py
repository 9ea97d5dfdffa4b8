"""The HTTP session of publishing: timeouts, and one policy for retries.

huggingface_hub retries some requests, sleeping on its own, and not others. Here what may be
tried again leaves its code as an error of ours, whichever request it was, so that `patience`
decides; every step of a publication is one that can be repeated.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpx2
from huggingface_hub import get_session, set_client_factory
from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

from memshield.network import TryAgainError

BUSY = (408, 425, 429, 500, 502, 503, 504)
TIMEOUT = httpx2.Timeout(connect=10.0, read=120.0, write=120.0, pool=None)
"""Seconds of silence; an upload may take as long as it needs."""
_lock = threading.Lock()
_everywhere: list[None] = []
_here: ContextVar[httpx2.Timeout | None] = ContextVar("_here", default=None)


def use_one_client() -> None:
    """Give huggingface_hub the client that can be steady, unless it has it.

    A change of clients closes the one that other threads may be using, so it is made once: before
    such threads are started.
    """
    with _lock:
        before = get_session()
        if isinstance(before, _Client):
            return
        hooks = before.event_hooks  # the library's own: it names each request, and may be offline
        set_client_factory(
            lambda: _Client(event_hooks=hooks, follow_redirects=True, timeout=TIMEOUT)
        )


@contextmanager
def steady_session(whole_process: bool = False, silence: float | None = None) -> Iterator[None]:
    """Within, requests of huggingface_hub raise `TryAgainError` where they may be repeated.

    Args:
        whole_process: those of other threads as well, for the library uploads with some of its
            own; else those of this thread alone.
        silence: seconds, where somebody waits for the answer.
    """
    use_one_client()
    timeout = TIMEOUT if silence is None else httpx2.Timeout(silence, pool=None)
    here = _here.set(timeout)
    if whole_process:
        _everywhere.append(None)
    try:
        yield
    finally:
        if whole_process:
            _everywhere.pop()
        _here.reset(here)


class _Client(httpx2.Client):
    """Sends requests; in a steady session, answers of a busy Hub and what is none are raised."""

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        timeout = _here.get()
        if timeout is None and not _everywhere:
            return super().send(request, **options)
        if timeout not in (None, TIMEOUT):
            request.extensions = {**request.extensions, "timeout": timeout.as_dict()}
        try:
            response = super().send(request, **options)
        except httpx2.TransportError as error:
            raise TryAgainError(f"no answer from the Hub ({type(error).__name__})") from error
        except RuntimeError as error:
            if not self.is_closed:  # by the library itself, where another thread could not connect
                raise
            raise TryAgainError("the connection to the Hub was closed meanwhile") from error
        if response.status_code in BUSY:
            response.close()  # of a stream nobody else would, and its connection be lost
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
