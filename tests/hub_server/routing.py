"""The routing table's machinery: from a method and a path to a handler and its parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar
from urllib.parse import unquote

from tests.hub_server.messages import HubError

HandlerT = TypeVar("HandlerT")

# Matched against the encoded path, where a slash inside a revision is %2F.
PLACEHOLDERS = {
    "kind": "models|datasets",
    "prefix": "(?:datasets/)?",  # pages and files of models have no prefix, unlike the API
    "repo": "[^/]+/[^/]+",
    "bucket": "[^/]+/[^/]+",
    "namespace": "[^/]+",
    "job": "[^/]+",
    "hash": "[0-9a-f]{64}",
    "revision": "[^/]+",
    "path": ".+",
}


@dataclass(frozen=True)
class Route(Generic[HandlerT]):
    """One line of the table. `{name}` in the template stands for PLACEHOLDERS[name]."""

    methods: tuple[str, ...]
    template: str
    handler: HandlerT

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        # Split by the placeholders, every second part is the name of one.
        parts = re.split(r"{(\w+)}", self.template)
        for index, part in enumerate(parts):
            parts[index] = f"(?P<{part}>{PLACEHOLDERS[part]})" if index % 2 else re.escape(part)
        return re.compile("".join(parts))

    def match(self, path: str) -> Mapping[str, str] | None:
        """The decoded parameters if `path` is this route's, else None."""
        found = self._pattern.fullmatch(path)
        if found is None:
            return None
        return {name: unquote(value) for name, value in found.groupdict().items()}


def find_route(
    routes: Sequence[Route[HandlerT]], method: str, path: str
) -> tuple[HandlerT, Mapping[str, str]]:
    """The first route for `path` that takes `method`."""
    path_is_known = False
    for route in routes:
        params = route.match(path)
        if params is None:
            continue
        if method in route.methods:
            return route.handler, params
        path_is_known = True
    if path_is_known:
        raise HubError(405, f"{method} is not allowed here")
    # No X-Error-Code: clients must not take a missing service for a missing repo or file.
    raise HubError(404, "Sorry, there is nothing at this address")
