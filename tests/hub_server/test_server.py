"""The server itself: a child's environment, mistakes in filling it, its start and its end."""

from __future__ import annotations

import http.client
import os
from pathlib import Path

import pytest

from tests.hub_server import HubServer
from tests.hub_server.asking import ask
from tests.hub_server.faults import FaultPlan
from tests.hub_server.messages import Request, Response
from tests.hub_server.record import RequestLog
from tests.hub_server.transport import Origin


def test_environment_holds_nothing_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, "the host's")
    monkeypatch.setenv("https_proxy", "the host's")
    with HubServer() as hub:
        signed_out, signed_in = hub.environ(tmp_path), hub.environ(tmp_path, token="hf_ada")
        assert signed_out["HF_ENDPOINT"] == hub.endpoint
    assert "the host's" not in signed_out.values()
    assert "HF_TOKEN" not in signed_out
    assert signed_in == {**signed_out, "HF_TOKEN": "hf_ada"}
    assert signed_out["PATH"] == os.environ["PATH"]


def test_mistakes_in_filling_the_hub(tmp_path: Path) -> None:
    hub = HubServer()
    hub.add_user("ada", "hf_ada")
    hub.add_repo("model", "ada/m", tmp_path)
    with pytest.raises(ValueError, match="unique"):
        hub.add_repo("model", "ada/m", tmp_path)
    with pytest.raises(ValueError, match="owner/name"):
        hub.add_repo("model", "gpt2", tmp_path)
    with pytest.raises(ValueError, match="existing directory"):
        hub.add_repo("model", "ada/n", tmp_path / "nothing")
    with pytest.raises(ValueError, match="unique"):
        hub.add_user("eve", "hf_ada")
    with pytest.raises(ValueError, match="no user"):
        hub.set_gated_access("nobody", [])
    with pytest.raises(ValueError, match="no user"):
        hub.add_token("nobody", "hf_nobody")
    with pytest.raises(ValueError, match="role must be"):
        hub.add_token("ada", "hf_admin", role="admin")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no model 'ada/n'"):
        hub.head("model", "ada/n")
    with pytest.raises(RuntimeError, match="not running"):
        _ = hub.endpoint


def test_a_closed_hub_answers_no_more() -> None:
    with HubServer() as hub:
        connection = http.client.HTTPConnection(hub.endpoint.removeprefix("http://"), timeout=5)
        connection.request("GET", "/api/models")
        assert connection.getresponse().read() == b"[]"
    with pytest.raises(ConnectionError):
        connection.request("GET", "/api/models")  # on the connection that was kept alive
        connection.getresponse()


def test_an_app_that_breaks_is_noticed(capfd: pytest.CaptureFixture[str]) -> None:
    def broken(request: Request) -> Response:
        raise KeyError(request.path)

    origin = Origin("hub", RequestLog(), FaultPlan())
    origin.start(broken)
    with pytest.raises(ConnectionError):
        ask(origin.url, "GET", "/bug")
    origin.close()
    assert [type(failure) for failure in origin.failures] == [KeyError]
    assert "/bug" in capfd.readouterr().err
