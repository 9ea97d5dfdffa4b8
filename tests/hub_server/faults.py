"""Faults on demand: a Hub that is overloaded, slow, or gone in the middle of a request."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from tests.hub_server.messages import HubError, Response
from tests.hub_server.record import OriginName, RecordedRequest

Kind = Literal["answer", "cut", "cut_answer", "cut_middle", "slow"]


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and with which requests.

    answer: `status`, `headers` and `message`; the request is not carried out. With `page` it is
        that HTML, as a proxy answers.
    cut: the connection ends after `read_bytes` of the request's body, without an answer.
    cut_answer: the request is carried out, but the connection ends without an answer.
    cut_middle: the request is carried out, but the connection ends in the middle of the answer.
    slow: the request is carried out and answered `seconds` later, or never if the Hub closes.

    A request is meant if it agrees with `method`, `path` (a part of the path and query, or a
    pattern found in it) and `origin`, as far as they are given. Of those requests, the first
    `after` pass, and the next `times` go wrong; None stands for all of them.
    """

    kind: Kind
    method: str | None = None
    path: str | re.Pattern[str] | None = None
    origin: OriginName | None = None
    after: int = 0
    times: int | None = 1
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "Service Unavailable"
    read_bytes: int = 0
    seconds: float = 0.0
    page: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind must be one of {get_args(Kind)}, got {self.kind!r}")
        if self.times is not None and self.times < 1:
            raise ValueError(f"times must be at least 1, or None for ever, got {self.times}")
        if min(self.after, self.read_bytes, self.seconds) < 0:
            raise ValueError("after, read_bytes and seconds must not be negative")

    def concerns(self, request: RecordedRequest) -> bool:
        """Whether the request is one of those that the fault is about."""
        if isinstance(self.path, str):
            is_path = self.path in request.path
        else:
            is_path = self.path is None or self.path.search(request.path) is not None
        return (
            is_path
            and self.method in {None, request.method}
            and self.origin in {None, request.origin}
        )

    def response(self) -> Response:
        """The answer of an `answer` fault."""
        if self.page is not None:
            return Response(self.status, {"Content-Type": "text/html"}, self.page.encode())
        return HubError(self.status, self.message, headers=self.headers).response()


@dataclass
class _Armed:
    """A fault, how many requests it has seen, and how many of them went wrong by it."""

    fault: Fault
    seen: int = 0
    fired: int = 0

    def sees(self) -> bool:
        """Count one more request, and say whether the fault is due."""
        self.seen += 1
        is_spent = self.fault.times is not None and self.fired >= self.fault.times
        return self.seen > self.fault.after and not is_spent


class FaultPlan:
    """The faults to come."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[_Armed] = []

    def add(self, *faults: Fault) -> None:
        with self._lock:
            self._armed += [_Armed(fault) for fault in faults]

    def clear(self) -> None:
        with self._lock:
            self._armed = []

    def next(self, request: RecordedRequest) -> Fault | None:
        """What goes wrong with this request: the first fault that is due. Another one that is due
        as well has its turn with the next request."""
        with self._lock:
            concerned = [armed for armed in self._armed if armed.fault.concerns(request)]
            due = [armed for armed in concerned if armed.sees()]
            if not due:
                return None
            due[0].fired += 1
            return due[0].fault
