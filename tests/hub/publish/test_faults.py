"""A Hub that is busy, breaks off or refuses, at every request of a publication."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from memshield.errors import UserError
from memshield.hub import session
from memshield.hub.allowed_files import REPOSITORY_FILES
from memshield.rundir import RunDir
from memshield.runs.publication import read_publication
from tests.hub.conftest import FakeClock
from tests.hub.publishing import publish, require_complete
from tests.hub_server import HubServer
from tests.hub_server.faults import Fault

REQUESTS = 15
"""Those of a publication."""
PASSING: dict[str, Any] = {
    "429": {"kind": "answer", "status": 429, "headers": {"Retry-After": "7"}},
    "500": {"kind": "answer", "status": 500},
    "503": {"kind": "answer", "status": 503},
    "cut": {"kind": "cut", "read_bytes": 100},
    "cut_answer": {"kind": "cut_answer"},
    "cut_middle": {"kind": "cut_middle"},
}
LASTING: dict[str, Any] = {
    "429": {"kind": "answer", "status": 429, "headers": {"Retry-After": "7"}},
    "503": {"kind": "answer", "status": 503},
    "401": {"kind": "answer", "status": 401, "message": "Invalid credentials"},
    "403": {"kind": "answer", "status": 403, "message": "Storage limit reached"},
    "cut": {"kind": "cut"},
    "cut_answer": {"kind": "cut_answer"},
}


def passes(hub: HubServer, run: RunDir, clock: FakeClock, name: str, after: int) -> None:
    """One request goes wrong once: the publication is whole all the same."""
    hub.fail(Fault(**PASSING[name], after=after))
    published = publish(run, clock)
    assert len(hub.requests) > after, "nothing went wrong"
    hub.clear_faults()
    require_complete(hub, published)
    assert read_publication(run)["state"] == "done"
    if name == "429" and clock.slept:
        assert clock.slept == [7.0]


def lasts(hub: HubServer, run: RunDir, clock: FakeClock, name: str, after: int) -> None:
    """From one request on all go wrong: it says so, and the same command finishes it later."""
    hub.fail(Fault(**LASTING[name], after=after, times=None))
    try:
        published = publish(run, clock)
        assert len(hub.requests) > after, "nothing went wrong"
    except UserError as error:
        state = read_publication(run)
        assert state["state"] == "failed"
        assert state["reason"] == str(error)
        assert "python -m memshield publish" in state["command"]
        hub.clear_faults()
        half_published(hub)
        published = publish(run, clock)
    hub.clear_faults()
    require_complete(hub, published)
    assert run.read_status()["state"] == "done"


def half_published(hub: HubServer) -> None:
    """No tag on anything but a whole model; nothing, or all of it, under main."""
    if not hub.exists("model", "ada/digits"):
        return
    files = hub.repo_files("model", "ada/digits").keys() - REPOSITORY_FILES
    assert not files or {"README.md", "memshield.json", "model_index.json"} <= files
    for commit in hub.tags("model", "ada/digits").values():
        assert commit == hub.head("model", "ada/digits")
        assert "memshield.json" in files


def test_a_busy_hub_is_waited_for_as_it_asks(
    hub: HubServer, digits_run: RunDir, clock: FakeClock
) -> None:
    hub.fail(Fault("answer", path="/commit/", status=429, headers={"Retry-After": "40"}))
    hub.fail(Fault("answer", method="PUT", status=503, times=3))
    require_complete(hub, publish(digits_run, clock))
    assert sorted(clock.slept) == [1.0, 2.0, 4.0, 40.0]


def test_a_commit_whose_answer_is_lost_is_found(
    hub: HubServer, digits_run: RunDir, clock: FakeClock
) -> None:
    hub.fail(Fault("cut_answer", path="/commit/"))
    require_complete(hub, publish(digits_run, clock))
    commits = [request for request in hub.requests if "/commit/" in request.path]
    assert len(commits) == 1
    assert len([request for request in hub.requests if request.method == "PUT"]) == 1


def test_a_hub_that_does_not_answer_is_given_up(
    hub: HubServer, digits_run: RunDir, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "TIMEOUT", httpx2.Timeout(0.2))
    hub.fail(Fault("slow", path="/commit/", seconds=60))
    require_complete(hub, publish(digits_run, clock))
    assert clock.slept == [1.0]


def test_a_hub_that_asks_for_an_hour_is_not_waited_for(
    hub: HubServer, digits_run: RunDir, clock: FakeClock
) -> None:
    hub.fail(Fault("answer", path="/tag/", status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(UserError, match="it asks to wait 3600 s") as error:
        publish(digits_run, clock)
    assert "Go on with: python -m memshield publish" in str(error.value)
    assert clock.slept == []
    assert hub.tags("model", "ada/digits") == {}
    require_complete(hub, publish(digits_run, clock))


def test_a_token_that_runs_out_in_the_middle(
    hub: HubServer, digits_run: RunDir, clock: FakeClock
) -> None:
    lasts(hub, digits_run, clock, "401", after=8)


def test_no_network(
    hub: HubServer, digits_run: RunDir, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="no answer from the Hub"):
        publish(digits_run, clock)
    assert clock.slept == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="works offline"):
        publish(digits_run, clock)


def test_at_each_request_of_a_publication_something_is_tried(
    hub: HubServer, digits_run: RunDir
) -> None:
    publish(digits_run)
    assert len(hub.requests) == REQUESTS


def cases(*kinds: tuple[str, ...]) -> list[tuple[str, int]]:
    """One fault of every kind at each request: those of a kind take turns."""
    return [(names[i % len(names)], i) for names in kinds for i in range(REQUESTS)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "after"),
    cases(("429", "500", "503"), ("cut",), ("cut_answer",), ("cut_middle",)),
)
def test_every_request_can_go_wrong_once(
    hub: HubServer, digits_run: RunDir, clock: FakeClock, name: str, after: int
) -> None:
    passes(hub, digits_run, clock, name, after)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "after"), cases(("429", "503"), ("401",), ("403",), ("cut",), ("cut_answer",))
)
def test_all_requests_can_go_wrong_from_any_on(
    hub: HubServer, digits_run: RunDir, clock: FakeClock, name: str, after: int
) -> None:
    lasts(hub, digits_run, clock, name, after)
