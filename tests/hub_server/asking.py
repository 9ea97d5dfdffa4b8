"""Asking the Hub: by a real client in a child process, or by one plain request."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi

from tests.hub_server.record import OriginName, RecordedRequest
from tests.hub_server.server import HubServer

# From a token to the real client that is signed in by it, in the test's own process.
Client = Callable[[str], HfApi]

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Answer:
    """A plain HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)

    def json(self) -> dict[str, Any]:
        payload: dict[str, Any] = json.loads(self.body)
        return payload


def visit(hub: HubServer, name: str, home: Path, token: str | None = None) -> dict[str, Any]:
    """What the named visit saw; see visits.py."""
    command = [sys.executable, "-m", "tests.hub_server.visits", name]
    environment = hub.environ(home, token)
    child = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert child.returncode == 0, child.stderr
    seen: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return seen


def ask(
    endpoint: str,
    method: str,
    path: str,
    token: str | None = None,
    *,
    body: bytes | dict[str, object] | None = None,
    **headers: str,
) -> Answer:
    """One request as it stands, without a client's redirects and retries."""
    connection = http.client.HTTPConnection(endpoint.removeprefix("http://"), timeout=10)
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    data = json.dumps(body) if isinstance(body, dict) else body
    connection.request(method, path, body=data, headers=headers)
    response = connection.getresponse()
    answer = Answer(
        response.status,
        {name.lower(): value for name, value in response.getheaders()},
        response.read(),
    )
    connection.close()
    return answer


def since(hub: HubServer, mark: int, origin: OriginName) -> list[RecordedRequest]:
    return [request for request in hub.requests[mark:] if request.origin == origin]
