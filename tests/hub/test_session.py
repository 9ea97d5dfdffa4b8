"""Whose requests are steady, and that nobody else's are disturbed."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from huggingface_hub import HfApi, get_session
from huggingface_hub.errors import HfHubHTTPError

from memshield.errors import UserError
from memshield.hub.session import steady_session, use_one_client
from memshield.network import TryAgainError, asking
from tests.hub.conftest import TOKEN
from tests.hub_server import Fault, HubServer
from tests.hub_server.in_process import connect


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as hub:
        hub.add_user("ada", TOKEN)
        connect(monkeypatch, hub.endpoint)
        yield hub


def name() -> str:
    return str(HfApi(token=TOKEN).whoami()["name"])


@pytest.fixture
def other() -> Iterator[ThreadPoolExecutor]:
    """Another thread than the test's."""
    with ThreadPoolExecutor(1) as threads:
        yield threads


def test_a_request_under_way_is_not_broken_off(
    server: HubServer, other: ThreadPoolExecutor
) -> None:
    use_one_client()
    server.fail(Fault("slow", path="/api/whoami", seconds=1.0))
    asked = other.submit(name)
    while not server.requests:
        time.sleep(0.01)
    for _ in range(3):
        with steady_session():
            assert name() == "ada"
        with steady_session(whole_process=True):
            pass
    assert not asked.done()
    assert asked.result(20) == "ada"


def test_a_session_is_its_threads_own(server: HubServer, other: ThreadPoolExecutor) -> None:
    server.fail(Fault("answer", path="/api/whoami", times=None, headers={"Retry-After": "7"}))
    with steady_session():
        with pytest.raises(TryAgainError, match="answered 503 to GET") as error:
            name()
        assert error.value.retry_after == "7"
        with pytest.raises(HfHubHTTPError):
            other.submit(name).result(20)
    with pytest.raises(HfHubHTTPError):
        name()


def test_or_the_whole_processs(server: HubServer, other: ThreadPoolExecutor) -> None:
    """Until the last one has left it."""
    server.fail(Fault("answer", path="/api/whoami", times=None))
    with steady_session(whole_process=True):
        with steady_session(whole_process=True):
            pass
        with pytest.raises(TryAgainError):
            other.submit(name).result(20)
    with pytest.raises(HfHubHTTPError):
        other.submit(name).result(20)


def test_silence_is_borne_as_long_as_said(server: HubServer) -> None:
    server.fail(Fault("slow", path="/api/whoami", seconds=5.0))
    begun = time.monotonic()
    with steady_session(silence=0.3), pytest.raises(TryAgainError, match="ReadTimeout"):
        name()
    assert time.monotonic() - begun < 3
    with steady_session(silence=5):
        assert name() == "ada"


def test_a_client_that_the_library_closes_meanwhile(server: HubServer) -> None:
    """It does where one of its own retries cannot connect."""
    use_one_client()
    client = get_session()
    client.close()
    with steady_session(), pytest.raises(TryAgainError, match="closed meanwhile"):
        client.get(server.endpoint)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "kept on this machine: No space left on device"),
        (PermissionError(13, "Permission denied"), "kept on this machine: Permission denied"),
        (OSError("no file named model.fp16.safetensors"), "cannot be opened: no file named model"),
        (ConnectionResetError(104, "reset"), "the Hub cannot be reached"),
        (TimeoutError("slow"), "the Hub cannot be reached"),
        (socket.gaierror(-2, "unknown host"), "the Hub cannot be reached"),
    ],
)
def test_what_this_machine_lacks_is_not_the_hubs_silence(error: OSError, words: str) -> None:
    with pytest.raises(UserError, match=words), asking("model", "lab/it"):
        raise error
    # A library's own words, raised for that error.
    with pytest.raises(UserError) as told, asking("model", "lab/it"):
        try:
            raise error
        except OSError as cause:
            raise OSError("We could not load it") from cause
    silent = "cannot be reached" in words
    expected = "the Hub cannot be reached" if silent else "cannot be opened: We could not load it"
    assert expected in told.value.problem


@pytest.mark.parametrize("page", [None, "<html>Welcome to the hotel</html>"])
def test_what_is_missing_is_told_even_if_the_second_look_fails(
    server: HubServer, page: str | None
) -> None:
    """Whether it is a dataset is asked only for a better message."""
    fault = Fault("answer", path="/api/datasets/lab/none", times=None)
    if page is not None:
        fault = Fault("answer", path="/api/datasets/lab/none", status=200, page=page, times=None)
    server.fail(fault)
    with (
        pytest.raises(UserError, match="lab/none is not on the Hub or not readable"),
        steady_session(),
        asking("model", "lab/none"),
    ):
        HfApi(token=TOKEN).model_info("lab/none")
