"""Fixtures: a Hub to read from, an empty one to write to, and the real client in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from tests.hub_server import HubServer
from tests.hub_server.asking import Client
from tests.hub_server.filling import Filled, write, write_pictures, write_pipeline, write_rows
from tests.hub_server.in_process import connect, record_waits

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The client uploads in a way that its HTTP library warns of: not ours to change."""
    quiet = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(quiet)


@pytest.fixture(scope="package")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """A Hub with models and datasets, public, private and gated: tests leave it as it was."""
    root = tmp_path_factory.mktemp("repos")
    pipeline_sum = write_pipeline(root / "tiny")
    write(root / "old", {"README.md": "an older card"})
    write(root / "plain", {"config.json": "{}", "model.safetensors": "weights"})
    write_rows(root / "rows", ["a", "b"], ["c"])
    # Other content than the public rows: a client that has a file's hash fetches it no more.
    write_rows(root / "diary", ["my", "secrets"])
    write_pictures(root / "pictures")
    with HubServer(page_size=2) as hub:
        hub.add_user("ada", "hf_ada")
        hub.add_user("bob", "hf_bob", gated_access=[("model", "ada/gated")])
        hub.add_user("eve", "hf_eve")
        tiny = root / "tiny"
        shas = {
            "tiny": hub.add_repo(
                "model", "ada/tiny", tiny, branches={"old": root / "old"}, tags={"v1": tiny}
            ),
            "gated": hub.add_repo("model", "ada/gated", root / "plain", gated=True, downloads=7),
            "secret": hub.add_repo("model", "ada/secret", root / "plain", private=True),
            "plain": hub.add_repo("model", "bob/plain", root / "plain", downloads=3),
            "last": hub.add_repo("model", "bob/last", root / "plain", downloads=5),
            "rows": hub.add_repo("dataset", "ada/rows", root / "rows"),
            "pictures": hub.add_repo("dataset", "ada/pictures", root / "pictures"),
            "diary": hub.add_repo("dataset", "ada/diary", root / "diary", private=True),
        }
        yield Filled(hub, shas, {"tiny": tiny, "rows": root / "rows"}, pipeline_sum)


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """A Hub with users and nothing else: ada and bob share the org lab, eve is nobody to them."""
    with HubServer() as server:
        server.add_user("ada", "hf_ada", orgs=["lab"])
        server.add_user("bob", "hf_bob", orgs=["lab"])
        server.add_user("eve", "hf_eve")
        yield server


@pytest.fixture
def client(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> Client:
    """The real client in this process, signed in by the token that it is called with."""
    connect(monkeypatch, hub.endpoint)
    return lambda token: HfApi(hub.endpoint, token=token)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the client would have waited in all, were there waiting in tests."""
    return record_waits(monkeypatch)
