"""File content, whole or the one byte range that was asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tests.hub_server.messages import HubError, Response
from tests.hub_server.spool import Body

_RANGE = re.compile(r"\s*bytes\s*=\s*(?P<first>\d*)\s*-\s*(?P<last>\d*)\s*")


def content_response(data: Body, range_header: str | None, headers: Mapping[str, str]) -> Response:
    """200 with everything, 206 with a part, or 416 if the part lies beyond the end."""
    all_headers = {**headers, "Accept-Ranges": "bytes"}
    bounds = None if range_header is None else _bounds(range_header, len(data))
    if bounds is None:
        return Response(200, all_headers, data)
    first, last = bounds
    if first > last:
        raise HubError(416, "no such range", headers={"Content-Range": f"bytes */{len(data)}"})
    all_headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
    return Response(206, all_headers, data[first : last + 1])


def _bounds(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte, the first beyond the last if there are none; None for a header that
    HTTP lets a server ignore: several ranges, or no range at all."""
    match = _RANGE.fullmatch(header)
    if match is None or not (match["first"] or match["last"]):
        return None
    if not match["first"]:  # the last so many bytes
        return max(0, size - int(match["last"])), size - 1
    last = min(int(match["last"]), size - 1) if match["last"] else size - 1
    return int(match["first"]), last
