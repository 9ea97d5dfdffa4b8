"""The real client in the test's own process, where it was imported before there was a Hub."""

from __future__ import annotations

from types import SimpleNamespace

import huggingface_hub
import pytest

PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def connect(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Settings that the client would have read from the environment of a child process, for as
    long as the test lasts. `HfApi(endpoint, token=...)` is to be used, for the functions of the
    package itself keep the endpoint of their import."""
    settings = {
        "ENDPOINT": endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
    }
    for name, value in settings.items():
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    # Else the first request of the process is one that asks how to recognise coding agents.
    none_known: dict[str, object] = {"standardEnvVars": [], "harnesses": {}}
    monkeypatch.setattr("huggingface_hub.utils._detect_agent._registry", none_known)
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    huggingface_hub.close_session()  # it may know a proxy, and connections of an earlier Hub


def record_waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the client would wait before it tries again: it does so at once."""
    waits: list[float] = []
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=waits.append))
    return waits
