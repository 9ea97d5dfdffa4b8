"""Long lists come in pages, each of which names the next one in a Link header."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import urlencode

from tests.hub_server.call import Call
from tests.hub_server.messages import HubError, Response, json_response

ItemT = TypeVar("ItemT")


def page_response(
    call: Call, items: Sequence[ItemT], page_size: int, as_json: Callable[[ItemT], object]
) -> Response:
    """The page that the request's cursor points at; only its items are turned into JSON."""
    cursor = call.request.query.get("cursor", ["0"])[-1]
    if not cursor.isdecimal():
        raise HubError(400, f"cursor must be one from a Link header, got {cursor!r}")
    start, end = int(cursor), int(cursor) + page_size
    headers = {}
    if end < len(items):
        # Clients follow the link as it is, so it must repeat the whole query.
        query = urlencode({**call.request.query, "cursor": [str(end)]}, doseq=True)
        headers["Link"] = f'<{call.hub.endpoint}{call.request.path}?{query}>; rel="next"'
    return json_response([as_json(item) for item in items[start:end]], headers=headers)
