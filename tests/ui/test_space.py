"""The page on a Space, asked by two users and by nobody: what is whose, whose token goes where."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from tests.hub.conftest import BOBS, TOKEN
from tests.hub_server import HubServer
from tests.runs import ROOT
from tests.ui.pages import Running, end_tasks, home_environment, serving, until

OPERATORS = "hf_" + "theoperatorsowntokenofthespace"
TINY = {"recipe": "demo", "epochs": 1, "rounds": 1, "shards": 1}


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        server.add_user("ada", TOKEN)
        server.add_user("bob", BOBS)
        server.add_user("operator", OPERATORS)
        yield server


@pytest.fixture(scope="module")
def space(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("space")
    environment = home_environment(folder, hub.endpoint) | {
        "SYSTEM": "spaces",
        "SPACE_ID": "operator/memshield",
        "OAUTH_CLIENT_ID": "app",
        "OAUTH_CLIENT_SECRET": "of-the-app",
        "OAUTH_SCOPES": "openid profile contribute-repos",
        "OPENID_PROVIDER_URL": hub.endpoint,
        "HF_TOKEN": OPERATORS,
    }
    with serving(folder, environment) as running:
        yield running
        end_tasks(running.data)


def client(space: Running, token: str | None) -> Any:
    return Client(space.url, verbose=False, oauth_token=token)


def test_a_job_is_its_owners_alone(space: Running, hub: HubServer) -> None:
    ada, bob, nobody = (client(space, token) for token in (TOKEN, BOBS, None))
    job = ada.predict(TINY, api_name="/submit")
    until(lambda: ada.predict(job, api_name="/status")["training"]["state"] != "waiting")
    for stranger, words in ((bob, "there is no job"), (nobody, "Sign in above")):
        for name in ("/status", "/report"):
            with pytest.raises(AppError, match=words):
                stranger.predict(job, api_name=name)
    with pytest.raises(AppError, match="Sign in above"):
        nobody.predict(TINY, api_name="/submit")
    with pytest.raises(AppError, match="does not accept your sign-in"):
        client(space, "hf_" + "nobodysnobodysnobodysnobodys").predict(TINY, api_name="/submit")


def test_what_is_not_named_is_a_strangers_neither(space: Running) -> None:
    """The handlers of the page by their number, and files by their path."""
    ada = client(space, TOKEN)
    job = ada.predict(TINY, api_name="/submit")
    handlers = httpx2.get(f"{space.url}/config").json()["dependencies"]
    numbers = [one["id"] for one in handlers if one["backend_fn"]]

    def told(token: str) -> set[str]:
        """Words of ada's job that any handler tells who has this token."""
        found = set()
        for number in numbers:
            for data in ([job, ""], [job], [job, "", True, "", []]):
                asked = {"fn_index": number, "data": data, "oauth_token": token}
                answer = httpx2.post(
                    f"{space.url}/gradio_api/run/predict", json={**asked, "session_hash": "x"}
                )
                found |= {one for one in ("sklearn-digits", "accelerate launch")
                          if one in answer.text}  # fmt: skip
        return found

    assert told(BOBS) == set()
    assert "accelerate launch" in told(TOKEN), "the very same requests tell their owner"
    (folder,) = (space.data / "jobs").glob(f"{job}")
    for path in (folder / "settings.yaml", space.data / "jobs.sqlite3"):
        assert path.is_file()
        for route in ("file", "file="):
            answer = httpx2.get(f"{space.url}/gradio_api/{route}{path}")
            assert answer.status_code in (403, 404)


def test_every_token_goes_where_it_belongs(space: Running, hub: HubServer) -> None:
    mark = len(hub.requests)
    assert client(space, None).predict("tiny", api_name="/search") == []
    signed_out = hub.requests[mark:]
    assert signed_out
    assert not [one for one in signed_out if "authorization" in one.headers]
    client(space, BOBS).predict("tiny", "datasets", api_name="/search")
    for request in hub.requests:
        assert OPERATORS not in request.headers.get("authorization", "")
    assert client(space, TOKEN).predict(TINY, api_name="/submit")
    for path in [*space.data.rglob("*"), *space.data.parent.glob("*.log")]:
        if path.is_file():
            data = path.read_bytes()
            assert not [token for token in (TOKEN, BOBS, OPERATORS) if token.encode() in data], path


def test_it_does_not_start_where_sign_in_would_be_mocked(tmp_path: Path) -> None:
    environment = home_environment(tmp_path) | {"SPACE_ID": "operator/memshield"}
    child = subprocess.run(
        [sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert child.returncode == 1
    assert "sign-in would be mocked" in child.stderr
    assert "Traceback" not in child.stderr


def test_no_folder_of_the_server_can_be_named(space: Running, hub: HubServer) -> None:
    config = httpx2.get(f"{space.url}/config").text
    assert "Pictures that you upload" in config
    assert "A folder on this computer" not in config and "folder-path" not in config
