"""The page on a Space, asked by two users and by nobody: what is whose, whose token goes where."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio
import httpx2
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from memshield.errors import UserError
from memshield.ui.api import NAMES
from memshield.ui.app import find_port
from tests.hub.conftest import BOBS, TOKEN
from tests.hub_server import HubServer
from tests.trained_runs import ROOT
from tests.ui.servers import (
    Running,
    end_tasks,
    home_environment,
    serving,
    space_environment,
    until,
    with_idle_trainings,
)

pytestmark = pytest.mark.process

OPERATORS = "hf_" + "theoperatorsowntokenofthespace"
TINY = {"recipe": "demo", "epochs": 1, "rounds": 1, "shards": 1}


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        server.add_user("ada", TOKEN)
        server.add_user("bob", BOBS)
        server.add_user("operator", OPERATORS)
        server.add_oauth_client("app", "of-the-app")
        yield server


@pytest.fixture(scope="module")
def space(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("space")
    environment = space_environment(folder, hub, OPERATORS)
    with serving(folder, with_idle_trainings(environment, folder / "idle")) as running:
        yield running
        end_tasks(running.data)


def client(space: Running, token: str | None) -> Any:
    return Client(space.url, verbose=False, oauth_token=token)


@pytest.mark.slow
def test_a_job_is_its_owners_alone(space: Running, hub: HubServer) -> None:
    ada, bob, nobody = (client(space, token) for token in (TOKEN, BOBS, None))
    listed = ada.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(listed) == {f"/{name}" for name in NAMES}
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


def handlers(space: Running, job: str) -> list[tuple[int, list[Any]]]:
    """Every handler of the page by its number, with inputs of which every choice of a run is job's.

    gradio keeps private handlers from being listed, not from being called.
    """
    config = httpx2.get(f"{space.url}/config").json()
    parts = {one["id"]: one for one in config["components"]}

    def value(id: int) -> Any:
        props = parts[id]["props"]
        return job if props.get("elem_id") == "run" else props.get("value")

    return [
        (one["id"], [value(id) for id in one["inputs"]])
        for one in config["dependencies"]
        if one["backend_fn"]  # others are the browser's alone
    ]


def clicked(space: Running, label: str) -> int:
    """The number of the handler behind the button that says so."""
    config = httpx2.get(f"{space.url}/config").json()
    (button,) = (one["id"] for one in config["components"] if one["props"].get("value") == label)
    (number,) = (
        one["id"] for one in config["dependencies"]
        if [button, "click"] in one["targets"] and one["inputs"]
    )  # fmt: skip
    return int(number)


@pytest.fixture(scope="module")
def browser(space: Running) -> Iterator[httpx2.Client]:
    """One that nobody signed in with."""
    api, cookie = f"{space.url}/gradio_api/", browsers_cookie(space)
    with httpx2.Client(base_url=api, headers=cookie, timeout=60) as opened:
        yield opened


def called(browser: httpx2.Client, number: int, data: list[Any], token: str | None) -> str:
    """What a handler answers to a request by hand: at once, or through the queue."""
    # One session for all of a visitor's: each new one costs the server a copy of the page.
    session = f"of-{token}"
    body = {"fn_index": number, "data": data, "session_hash": session}
    body |= {"oauth_token": token} if token else {}
    said = browser.post("run/predict", json=body).text
    if browser.post("queue/join", json=body).status_code == 200:
        with browser.stream("GET", "queue/data", params={"session_hash": session}) as answer:
            for line in answer.iter_lines():
                said += line
                if "process_completed" in line:
                    break
    return said


@pytest.mark.slow
def test_what_is_not_named_is_a_strangers_neither(space: Running, browser: httpx2.Client) -> None:
    """The handlers of the page by their number, and files by their path."""
    ada = client(space, TOKEN)
    job = ada.predict(TINY, api_name="/submit")

    deletes = clicked(space, "Delete this run with all its files")
    requests = handlers(space, job)
    assert len(requests) > 20
    assert deletes in [number for number, _ in requests]

    def told(token: str | None, but: int | None = None) -> dict[int, str]:
        """Handlers that tell a command of ada's job to whoever has this token.

        Of its training, or of the audit that one of these very requests asks for.
        """
        answers = {
            number: called(browser, number, data, token)
            for number, data in requests
            if number != but
        }
        return {number: said for number, said in answers.items() if f"jobs/{job}/" in said}

    for stranger in (BOBS, None):
        assert told(stranger) == {}
    # Not stopped, not deleted, not audited: none of it did anything either.
    view = ada.predict(job, api_name="/status")
    assert view["training"]["state"] in ("waiting", "preparing", "running", "done")
    assert view["auditing"]["state"] == view["publishing"]["state"] == "none"
    assert told(TOKEN, but=deletes), "the very same requests tell their owner"

    def is_deleted() -> bool:
        # By the request that did nothing for a stranger; refused while the training is stopping.
        called(browser, deletes, [job], TOKEN)
        try:
            ada.predict(job, api_name="/status")
        except AppError as error:
            assert "there is no job" in str(error)
            return True
        return False

    until(is_deleted)
    job = ada.predict(TINY, api_name="/submit")
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


def test_a_stranger_uploads_nothing(space: Running) -> None:
    """Whatever the address is written like."""
    for path in ("upload", "upload/", "upload?upload_id=a", "%75pload", "./upload"):
        answer = httpx2.post(
            f"{space.url}/gradio_api/{path}",
            files={"files": ("a.png", b"not taken")},
            follow_redirects=True,
        )
        assert answer.status_code == 401, path
        assert answer.text == "Sign in above to upload pictures."
    assert httpx2.get(f"{space.url}/gradio_api/upload_progress?upload_id=a").status_code != 401


def cookie_of(answer: httpx2.Response) -> dict[str, str]:
    """As a header: it is for https only, and would not be sent to a loopback address."""
    return {"Cookie": answer.headers["set-cookie"].split(";")[0]}


def browsers_cookie(space: Running) -> dict[str, str]:
    """The cookie of a browser that asked for the first time."""
    return cookie_of(httpx2.get(f"{space.url}/gradio_api/app_id"))


def signed_in(space: Running, name: str) -> dict[str, str]:
    """The cookies of a browser in which somebody signed in on the Hub's own page."""
    begun = httpx2.get(f"{space.url}/login/huggingface")
    chosen = httpx2.get(f"{begun.headers['location']}&login_hint={name}")
    session = cookie_of(httpx2.get(chosen.headers["location"], headers=cookie_of(begun)))
    return {"Cookie": f"{session['Cookie']}; {browsers_cookie(space)['Cookie']}"}


def submitted(space: Running, cookie: dict[str, str]) -> str:
    """What the page answers to somebody who wants to train."""
    call = f"{space.url}/gradio_api/call/submit"
    id = httpx2.post(call, json={"data": [TINY]}, headers=cookie).json()["event_id"]
    return httpx2.get(f"{call}/{id}", headers=cookie, timeout=60).text


def test_a_copy_of_the_cookie_is_worth_nothing_after_signing_out(space: Running) -> None:
    cookie, elsewhere = signed_in(space, "bob"), signed_in(space, "bob")
    assert "event: complete" in submitted(space, cookie)
    assert httpx2.get(f"{space.url}/logout", headers=cookie).status_code in (302, 307)
    assert "event: error" in submitted(space, cookie)
    assert "event: complete" in submitted(space, elsewhere)
    assert "event: complete" in submitted(space, signed_in(space, "bob"))


def test_nobody_fetches_what_was_uploaded(space: Running) -> None:
    """As it lies there between its arrival and its being read; however its address is written."""
    file = space.received / ("0" * 64) / "a.png"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"a picture")
    icon = Path(gradio.__file__).parent / "icons" / "huggingface-logo.svg"
    assert httpx2.get(f"{space.url}/gradio_api/file={icon}").status_code == 200
    climbing = f"{icon.parent}/{'%2E%2E/' * 30}{file}"
    for path in (
        f"file={file}",
        f"file/{file}",
        f"%66ile%3D{file}",
        f"file={climbing}",
        "file=%00",
    ):
        for method in ("GET", "HEAD"):
            answer = httpx2.request(method, f"{space.url}/gradio_api/{path}")
            assert answer.status_code == 403, path
            assert b"a picture" not in answer.content
    file.unlink()


def test_it_does_not_start_where_sign_in_would_be_mocked(tmp_path: Path) -> None:
    environment = home_environment(tmp_path) | {"SPACE_ID": "operator/memshield"}
    child = subprocess.run(
        [sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert child.returncode == 1
    assert "sign-in would be mocked" in child.stderr
    assert "Traceback" not in child.stderr


def test_a_port_that_is_taken_or_is_none_is_said_in_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("GRADIO_SERVER_PORT", str(port))
        with pytest.raises(UserError, match=f"127.0.0.1:{port}: address already in use"):
            find_port("127.0.0.1")
    assert find_port("127.0.0.1") == port
    for text in ("abc", "0", "70000", "²"):
        monkeypatch.setenv("GRADIO_SERVER_PORT", text)
        with pytest.raises(UserError, match="is no port"):
            find_port("127.0.0.1")


def test_no_folder_of_the_server_can_be_named(space: Running, hub: HubServer) -> None:
    config = httpx2.get(f"{space.url}/config").text
    assert "Pictures that you upload" in config
    assert "A folder on this computer" not in config and "folder-path" not in config
