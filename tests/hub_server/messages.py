"""What goes in and out of the Hub once HTTP's wire format is dealt with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from tests.hub_server.spool import Body


@dataclass(frozen=True)
class Request:
    """One request. `path` is still percent-encoded: a revision such as refs%2Fpr%2F1 is one
    segment of it. Header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: Body

    def flag(self, name: str) -> bool:
        """Whether the query holds `name` as a true boolean."""
        return is_true(self.query.get(name, ["false"])[-1])

    def form(self) -> Mapping[str, list[str]]:
        """The body as an HTML form sends it."""
        return parse_qs(bytes(self.body).decode(), keep_blank_values=True)

    def json(self) -> dict[str, Any]:
        """The body as a JSON object."""
        try:
            payload = json.loads(bytes(self.body))
        except ValueError as error:
            raise HubError(400, f"the body must be JSON: {error}") from error
        if not isinstance(payload, dict):
            raise HubError(400, f"the body must be a JSON object, got {type(payload).__name__}")
        return payload


@dataclass(frozen=True)
class Response:
    """One answer. The transport adds Content-Length, and leaves the body out for HEAD."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body = b""


class HubError(Exception):
    """An answer that the Hub's clients turn into an exception.

    `code` becomes X-Error-Code, by which huggingface_hub picks the exception's class. `payload`
    goes into the body beside the message.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        payload: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})
        self.payload = dict(payload or {})

    def response(self) -> Response:
        """The message goes out twice, for a HEAD request's answer has no body to hold it."""
        # Header fields cannot carry line breaks or every character; the body can.
        in_header = " ".join(self.message.encode("ascii", "backslashreplace").decode().split())
        headers = {**self.headers, "X-Error-Message": in_header}
        if self.code is not None:
            headers["X-Error-Code"] = self.code
        return json_response({"error": self.message, **self.payload}, self.status, headers)


def json_response(
    payload: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON answer."""
    all_headers = {"Content-Type": "application/json; charset=utf-8", **(headers or {})}
    return Response(status, all_headers, json.dumps(payload).encode())


def is_true(value: str) -> bool:
    """A boolean as clients write it in a query or a form."""
    return value.lower() in {"1", "true"}
