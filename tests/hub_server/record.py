"""A record of every request, so that a test can say which origin was sent what."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

OriginName = Literal["hub", "content"]


@dataclass(frozen=True)
class RecordedRequest:
    """One request as it arrived. `path` includes the query; header names are in lower case.

    `host` and `port` are those of the socket that answered, whatever a Host header claimed.
    `body_size` is the length that was announced; a fault may have kept the rest from arriving.
    """

    origin: OriginName
    host: str
    port: int
    method: str
    path: str
    headers: Mapping[str, str]
    body_size: int


class RequestLog:
    """An append-only list that many connections write to at once.

    `bodies` takes the bodies too, unless it is None.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[RecordedRequest] = []
        self.bodies: list[bytes] | None = None

    def add(self, request: RecordedRequest) -> None:
        with self._lock:
            self._requests.append(request)

    def snapshot(self) -> tuple[RecordedRequest, ...]:
        """All requests so far, in order of arrival."""
        with self._lock:
            return tuple(self._requests)
