"""ASGI middleware of a Space: sessions, calls and uploads serve only the browser they belong to."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from memshield.ui.server.asgi import API, refuse, route_of
from memshield.ui.server.belongings import Belongings
from memshield.ui.server.browsers import browser_of, giving_cookie, new_browser

_IN_PATH = re.compile(rf"{API}/(?:heartbeat|call(?:/v2)?/[^/]+)/([^/]+)")
_TELLING = re.compile(rf"{API}/(queue/join|call(/v2)?/[^/]+|upload)")
"""Routes whose answers tell the id of a call, or paths."""
_IN_QUERY = ("session_hash", "upload_id")
_IN_BODY = ("session_hash", "event_id")
_UPLOAD = re.compile(r"/[0-9a-f]{64}/")
"""A part of the path of every upload: gradio's name of its folder."""


class OwnCalls:
    """Refuses a session, a call or an upload of another browser.

    gradio answers whoever knows the id of a session or a call, and reads whichever upload a
    request names: such an id would be a password, and it stands in addresses and in logs.

    Args:
        app: the next application.
        belongings: of browsers.
    """

    def __init__(self, app: ASGIApp, belongings: Belongings) -> None:
        self._app = app
        self._belongings = belongings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 to a request for what is another's, and pass everything else on."""
        route = route_of(scope) if scope["type"] == "http" else ""
        if scope["type"] != "http" or not (route in ("", "/config") or route.startswith(API)):
            await self._app(scope, receive, send)
            return
        browser = browser_of(scope)
        if browser is None:
            browser = new_browser()
            send = giving_cookie(send, browser)
        ids, paths = _ids_in_query(scope), list[str]()
        if scope["method"] != "POST":
            ids += _id_in_path(route)
        elif route != f"{API}/upload":
            content = await _read(receive)
            body = _parse(content)
            if isinstance(body, dict):
                ids += [body[name] for name in _IN_BODY if isinstance(body.get(name), str)]
            paths = [text for text in _texts(body) if _UPLOAD.search(text)]
            receive = _again(content, receive)
        if not (self._are_own(browser, ids) and self._were_given(browser, paths)):
            reason = (
                "This belongs to another visitor, or the page's cookie is missing. Reload the page."
            )
            await refuse(scope, receive, send, 403, reason)
            return
        if scope["method"] == "POST" and _TELLING.fullmatch(route):
            send = self._noting(browser, send)
        await self._app(scope, receive, send)

    def _are_own(self, browser: str, ids: Iterable[str]) -> bool:
        return all(self._belongings.claim(browser, id) for id in ids)

    def _were_given(self, browser: str, paths: Iterable[str]) -> bool:
        # A description of an upload holds its path twice: alone, and in an address.
        return all(self._belongings.has(browser, path.rpartition("file=")[2]) for path in paths)

    def _noting(self, browser: str, send: Send) -> Send:
        """Wrap `send` so that a browser owns the ids and paths that it is told."""
        held: list[Message] = []

        async def note(message: Message) -> None:
            held.append(message)
            if message["type"] == "http.response.body" and message.get("more_body"):
                return
            if message["type"] != "http.response.start":
                answer = _parse(b"".join(one.get("body", b"") for one in held))
                for path in answer if isinstance(answer, list) else ():
                    self._belongings.give(browser, str(path))
                id = answer.get("event_id") if isinstance(answer, dict) else None
                if isinstance(id, str):
                    self._belongings.claim(browser, id)
                for one in held:
                    await send(one)
                held.clear()

        return note


def _id_in_path(route: str) -> list[str]:
    found = _IN_PATH.fullmatch(route)
    return [found[1]] if found else []


def _ids_in_query(scope: Scope) -> list[str]:
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    return [id for name in _IN_QUERY for id in query.get(name, ())]


async def _read(receive: Receive) -> bytes:
    """The body of a request; what came of it if the client left."""
    parts: list[bytes] = []
    while (message := await receive())["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    return b"".join(parts)


def _again(content: bytes, receive: Receive) -> Receive:
    """Receive a body that was read, and what comes after it."""
    bodies = [{"type": "http.request", "body": content, "more_body": False}]

    async def once() -> Message:
        return bodies.pop() if bodies else await receive()

    return once


def _parse(content: bytes) -> Any:
    """JSON, read as the routes read it; None for anything else."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _texts(value: Any) -> Iterator[str]:
    """All texts in a value, however deep."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)
