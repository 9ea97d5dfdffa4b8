"""Faults: that they happen as asked, where asked, and what the real client makes of them."""

from __future__ import annotations

import http.client
import re
import threading
import time

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from tests.hub_server import Fault, HubServer
from tests.hub_server.asking import Client, ask

WEIGHTS = bytes(range(256)) * 4096  # more than fits between two sockets
LIST = "/api/models"


@pytest.fixture
def api(client: Client) -> HfApi:
    """Ada's client, with a repo."""
    ada = client("hf_ada")
    ada.create_repo("ada/m")
    return ada


def upload(api: HfApi, path: str = "w.safetensors") -> None:
    api.upload_file(path_or_fileobj=WEIGHTS, path_in_repo=path, repo_id="ada/m")


def methods(hub: HubServer, origin: str = "content") -> list[str]:
    return [request.method for request in hub.requests if request.origin == origin]


def status(hub: HubServer, path: str = LIST) -> int:
    """Of a plain request; 0 if there was no answer."""
    try:
        return ask(hub.endpoint, "GET", path).status
    except (ConnectionError, http.client.HTTPException):
        return 0


def test_an_answer(hub: HubServer, api: HfApi, waits: list[float]) -> None:
    hub.fail(
        Fault("answer", path="/preupload/", times=2),
        Fault("answer", origin="content", status=429, headers={"Retry-After": "7"}),
    )
    upload(api)
    assert hub.repo_files("model", "ada/m")["w.safetensors"] == WEIGHTS
    assert methods(hub) == ["PUT", "PUT"]
    assert waits == [1, 2, 8]


def test_an_answer_that_is_final(hub: HubServer, api: HfApi, waits: list[float]) -> None:
    head = hub.head("model", "ada/m")
    hub.fail(Fault("answer", path="/commit/", status=500, message="Out of coffee"))
    with pytest.raises(HfHubHTTPError, match="Out of coffee"):
        upload(api)
    assert hub.head("model", "ada/m") == head
    assert waits == [], "a commit is not tried twice"
    upload(api)
    assert methods(hub) == ["PUT"], "its content is there already"


@pytest.mark.parametrize("read_bytes", [0, 1000])
def test_cut(hub: HubServer, api: HfApi, waits: list[float], read_bytes: int) -> None:
    hub.fail(Fault("cut", method="PUT", read_bytes=read_bytes, times=3))
    upload(api)
    assert hub.repo_files("model", "ada/m")["w.safetensors"] == WEIGHTS
    assert methods(hub) == ["PUT"] * 4
    assert len(waits) == 3
    sizes = [request.body_size for request in hub.requests if request.method == "PUT"]
    assert sizes == [len(WEIGHTS)] * 4


def test_cut_for_ever(hub: HubServer, api: HfApi, waits: list[float]) -> None:
    hub.fail(Fault("cut", origin="content", times=None))
    with pytest.raises(RuntimeError, match="Error while uploading"):
        upload(api)
    assert len(methods(hub)) == 6
    assert len(waits) == 5
    hub.clear_faults()
    upload(api)


def test_a_lost_answer(hub: HubServer, api: HfApi, waits: list[float]) -> None:
    head = hub.head("model", "ada/m")
    hub.fail(Fault("cut_answer", path="/commit/"))
    with pytest.raises(Exception, match="disconnected"):
        upload(api)
    landed = hub.head("model", "ada/m")
    assert landed != head
    upload(api)
    assert hub.head("model", "ada/m") == landed, "what has landed is not done twice"
    assert waits == []


def test_an_answer_that_stops(hub: HubServer, api: HfApi) -> None:
    upload(api)
    location = ask(hub.endpoint, "HEAD", "/ada/m/resolve/main/w.safetensors").headers["location"]
    path = location.removeprefix(hub.content_endpoint)
    hub.fail(Fault("cut_middle", origin="content"))
    with pytest.raises(http.client.IncompleteRead) as cut:
        ask(hub.content_endpoint, "GET", path)
    assert cut.value.partial == WEIGHTS[: len(WEIGHTS) // 2]
    assert ask(hub.content_endpoint, "GET", path).body == WEIGHTS
    hub.fail(Fault("cut_middle", method="HEAD"))
    with pytest.raises(Exception, match="disconnected"):
        api.get_hf_file_metadata(url=f"{hub.endpoint}/ada/m/resolve/main/.gitattributes")


def test_slow(hub: HubServer) -> None:
    hub.fail(Fault("slow", seconds=0.2))
    start = time.monotonic()
    assert status(hub) == 200
    assert time.monotonic() - start >= 0.2


def test_slow_ends_with_the_hub() -> None:
    seen: list[int] = []
    with HubServer() as hub:
        hub.fail(Fault("slow", seconds=60, times=None))
        visitor = threading.Thread(target=lambda: seen.append(status(hub)))
        visitor.start()
        while not hub.requests:
            time.sleep(0.001)
    visitor.join(timeout=5)
    assert seen == [0]


@pytest.mark.parametrize(
    ("faults", "statuses"),
    [
        ([Fault("answer")], [503, 200, 200, 200]),
        ([Fault("answer", times=2)], [503, 503, 200, 200]),
        ([Fault("answer", after=2)], [200, 200, 503, 200]),
        ([Fault("answer", after=1, times=2)], [200, 503, 503, 200]),
        ([Fault("answer", after=1, times=None)], [200, 503, 503, 503]),
        ([Fault("cut"), Fault("answer")], [0, 503, 200, 200]),
        ([Fault("answer", status=500), Fault("answer", after=3)], [500, 200, 200, 503]),
        ([Fault("answer", path="models?x")], [200] * 4),
        ([Fault("answer", path=re.compile("models$"))], [503, 200, 200, 200]),
        ([Fault("answer", method="POST"), Fault("answer", origin="content")], [200] * 4),
    ],
)
def test_which_requests(hub: HubServer, faults: list[Fault], statuses: list[int]) -> None:
    hub.fail(*faults)
    assert [status(hub) for _ in range(4)] == statuses
    assert len(hub.requests) == 4, "what goes wrong is recorded, too"


def test_one_fault_for_many_at_once(hub: HubServer) -> None:
    hub.fail(Fault("answer", times=3))
    seen: list[int] = []
    visitors = [threading.Thread(target=lambda: seen.append(status(hub))) for _ in range(8)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert sorted(seen) == [200] * 5 + [503] * 3


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="kind must be"):
        Fault("explode")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="times must be"):
        Fault("cut", times=0)
    with pytest.raises(ValueError, match="negative"):
        Fault("cut", after=-1)
