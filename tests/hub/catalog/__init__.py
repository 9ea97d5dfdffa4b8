"""Tests of memshield.hub.catalog: children ask a loopback Hub through the real clients."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hub_server import HubServer, RecordedRequest

ROOT = Path(__file__).parents[3]
ADA, EVE = "hf_" + "adas", "hf_" + "eves"


@dataclass(frozen=True)
class Visit:
    """What a child was told, one answer a call, and what it asked the Hub."""

    answers: list[Any]
    requests: list[RecordedRequest]
    said: str

    @property
    def to_hub(self) -> list[RecordedRequest]:
        return [request for request in self.requests if request.origin == "hub"]

    @property
    def fetched(self) -> list[RecordedRequest]:
        return [request for request in self.requests if request.origin == "content"]


def ask(
    hub: HubServer,
    home: Path,
    *calls: tuple[str, dict[str, Any]],
    module: str = "tests.hub.catalog.calls",
    **env: str,
) -> Visit:
    """Call functions of MemShield in one child; see calls.py.

    Args:
        hub: the Hub.
        home: the child's caches.
        calls: names and arguments; `token` is False where it is not among these.
        module: that answers them.
        env: changes to the child's environment, in which the host's own token is Ada's.
    """
    mark = len(hub.requests)
    child = subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env={**hub.environ(home, ADA), "OMP_NUM_THREADS": "1", **env},
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    *answers, last = [json.loads(line) for line in child.stdout.splitlines()]
    assert last == {"torch": False}, "asking the Hub must not load torch"
    said = child.stdout + child.stderr
    assert ADA not in said and EVE not in said
    return Visit(answers, list(hub.requests[mark:]), said)


def run(hub: HubServer, home: Path, *words: str, expect: int = 0, **env: str) -> str:
    """What `python -m memshield` prints; on stderr where it is expected to refuse."""
    child = subprocess.run(
        [sys.executable, "-m", "memshield", *words],
        cwd=ROOT,
        env={**hub.environ(home), "OMP_NUM_THREADS": "1", **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert child.returncode == expect, child.stderr
    said = child.stdout + child.stderr
    assert "Traceback" not in said
    assert ADA not in said and EVE not in said
    return child.stdout if expect == 0 else child.stderr


def words(answer: Any) -> str:
    """The refusal that an answer is, on one line."""
    return ": ".join(answer["error"][key] for key in ("field", "problem", "remedy"))
