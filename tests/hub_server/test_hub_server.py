"""The loopback Hub, asked by the real clients in child processes and over plain HTTP."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.hub_server import HubServer, RecordedRequest
from tests.hub_server.blobs import Blob
from tests.hub_server.card import read_card
from tests.hub_server.commit import Commit, commit_of_folder
from tests.hub_server.messages import HubError, Request, Response
from tests.hub_server.ranges import content_response
from tests.hub_server.record import RequestLog
from tests.hub_server.transport import Origin

ROOT = Path(__file__).parents[2]

CARD = """---
license: mit
tags:
- toy
- "made-by-code"
datasets: [ada/rows, ada/pictures]
widget:
- text: not a flat list
---
# Tiny
"""


@dataclass(frozen=True)
class Filled:
    """A running Hub, and what was put into it."""

    hub: HubServer
    shas: dict[str, str]
    folders: dict[str, Path]
    pipeline_sum: float


@dataclass(frozen=True)
class Answer:
    """A plain HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
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


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def write_pipeline(folder: Path) -> float:
    """A whole diffusers pipeline of a few kilobytes; returns the sum of its weights."""
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    unet = UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(4,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        layers_per_block=1,
        norm_num_groups=2,
        attention_head_dim=4,
    )
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(folder)
    (folder / "README.md").write_text(CARD)
    return sum(float(weight.detach().double().sum()) for weight in unet.parameters())


def write_rows(folder: Path, *parts: list[str]) -> None:
    import pyarrow
    from pyarrow import parquet

    (folder / "data").mkdir(parents=True)
    for part, words in enumerate(parts):
        table = pyarrow.table({"text": words})
        parquet.write_table(table, folder / "data" / f"train-{part}.parquet")


def write_pictures(folder: Path) -> None:
    from PIL import Image

    colours = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
    lines = [json.dumps({"file_name": f"{name}.png", "text": name}) for name in colours]
    write(folder, {"metadata.jsonl": "\n".join(lines)})
    for name, colour in colours.items():
        Image.new("RGB", (6, 4), colour).save(folder / f"{name}.png")


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


def ask(endpoint: str, method: str, path: str, token: str | None = None, **headers: str) -> Answer:
    """One request as it stands, without a client's redirects and retries."""
    connection = http.client.HTTPConnection(endpoint.removeprefix("http://"), timeout=10)
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    answer = Answer(
        response.status,
        {name.lower(): value for name, value in response.getheaders()},
        response.read(),
    )
    connection.close()
    return answer


def since(hub: HubServer, mark: int, origin: str) -> list[RecordedRequest]:
    return [request for request in hub.requests[mark:] if request.origin == origin]


def test_lists(filled: Filled, tmp_path: Path) -> None:
    mark = len(filled.hub.requests)
    seen = visit(filled.hub, "lists", tmp_path)
    public = ["ada/tiny", "ada/gated", "bob/plain", "bob/last"]
    assert seen["all"] == public
    assert seen["limit"] == public[:3]
    assert seen["search"] == seen["two_filters"] == ["ada/tiny"]
    assert seen["author"] == ["bob/plain", "bob/last"]
    assert seen["no_match"] == []
    assert seen["gated"] == ["ada/gated"]
    assert seen["by_downloads"] == [7, 5, 3, 0]
    assert seen["newest"] == "bob/last"
    assert seen["expand"] == filled.shas["tiny"]
    assert seen["diffusers"]["id"] == "ada/tiny"
    assert "unet/config.json" in seen["diffusers"]["files"]
    assert seen["diffusers"]["config"] == {"diffusers": {"_class_name": "DDPMPipeline"}}
    assert seen["datasets"] == ["ada/rows", "ada/pictures"]
    paths = [request.path for request in since(filled.hub, mark, "hub")]
    assert {"/api/models?cursor=2", "/api/models?limit=3&cursor=2"} <= set(paths)


def test_model(filled: Filled, tmp_path: Path) -> None:
    seen = visit(filled.hub, "model", tmp_path)
    folder = filled.folders["tiny"]
    sizes = {
        file.relative_to(folder).as_posix(): file.stat().st_size
        for file in folder.rglob("*")
        if file.is_file()
    }
    assert seen["sha"] == seen["tag_sha"] == filled.shas["tiny"]
    assert seen["library"] == "diffusers"
    assert seen["license"] == "mit"
    assert {"toy", "made-by-code", "dataset:ada/rows", "diffusers:DDPMPipeline"} <= set(
        seen["tags"]
    )
    weights = Blob((folder / "unet/diffusion_pytorch_model.safetensors").read_bytes(), True)
    assert seen["lfs"] == {"size": weights.size, "sha256": weights.sha256}
    assert seen["tree"] == sorted([*sizes, "scheduler", "unet"])
    assert seen["unet"] == ["RepoFile", "RepoFile"]
    assert seen["dated"]
    assert seen["branches"] == ["main", "old"]
    assert seen["tag_names"] == ["v1"]
    assert seen["paths"] == ["unet", "README.md"]
    assert seen["snapshot"] == sizes
    assert seen["old"] == "an older card"
    assert seen["exists"] and not seen["missing"]


def test_pipeline(filled: Filled, tmp_path: Path) -> None:
    seen = visit(filled.hub, "pipeline", tmp_path)
    assert seen == {"class": "DDPMPipeline", "sum": pytest.approx(filled.pipeline_sum)}


def test_datasets(filled: Filled, tmp_path: Path) -> None:
    mark = len(filled.hub.requests)
    seen = visit(filled.hub, "data", tmp_path, token="hf_ada")
    assert seen["rows"] == seen["streamed"] == ["a", "b", "c"]
    assert seen["private"] == ["my", "secrets"]
    assert seen["captions"] == {"red": [255, 0, 0], "green": [0, 255, 0], "blue": [0, 0, 255]}
    assert seen["first_caption"] in seen["captions"]
    assert seen["first_size"] == [6, 4]
    assert seen["missing"] == "DatasetNotFoundError"
    assert seen["magic"] == "PAR1"
    # The token goes with requests to the Hub and with none to where the content lies.
    to_hub, to_content = (since(filled.hub, mark, origin) for origin in ("hub", "content"))
    assert all(request.headers["authorization"] == "Bearer hf_ada" for request in to_hub)
    assert to_content and not any("authorization" in request.headers for request in to_content)
    assert any("range" in request.headers for request in to_content)
    assert {request.port for request in to_hub}.isdisjoint(request.port for request in to_content)


COMMON_REFUSALS = {
    "gated_info": "ok",
    "missing_file": "RemoteEntryNotFoundError 404",
    "missing_folder": "RemoteEntryNotFoundError 404",
    "revision": "RevisionNotFoundError 404",
    "revision_file": "RevisionNotFoundError 404",
    "revision_snapshot": "RevisionNotFoundError 404",
}


def private_answers(answer: str) -> dict[str, str]:
    return dict.fromkeys(("private", "private_file", "private_snapshot"), answer)


def gated_answers(answer: str) -> dict[str, str]:
    return dict.fromkeys(("gated_file", "gated_check"), answer)


def test_refusals_signed_out(filled: Filled, tmp_path: Path) -> None:
    assert visit(filled.hub, "refusals", tmp_path) == {
        **COMMON_REFUSALS,
        **private_answers("RepositoryNotFoundError 401"),
        **gated_answers("GatedRepoError 401"),
        "missing": "RepositoryNotFoundError 401",
        "whoami": "LocalTokenNotFoundError",
        "listed": [],
    }


def test_refusals_to_a_stranger(filled: Filled, tmp_path: Path) -> None:
    assert visit(filled.hub, "refusals", tmp_path, token="hf_eve") == {
        **COMMON_REFUSALS,
        **private_answers("RepositoryNotFoundError 404"),
        **gated_answers("GatedRepoError 403"),
        "missing": "RepositoryNotFoundError 404",
        "whoami": "ok",
        "listed": [],
    }


def test_refusals_to_the_owner(filled: Filled, tmp_path: Path) -> None:
    assert visit(filled.hub, "refusals", tmp_path, token="hf_ada") == {
        **COMMON_REFUSALS,
        **private_answers("ok"),
        **gated_answers("ok"),
        "missing": "RepositoryNotFoundError 404",
        "whoami": "ok",
        "listed": ["ada/secret"],
    }


def test_refusals_of_a_bad_token(filled: Filled, tmp_path: Path) -> None:
    seen = visit(filled.hub, "refusals", tmp_path, token="hf_nobody")
    assert set(seen.values()) == {"HfHubHTTPError 401"}


def test_granted_access_can_be_replaced(filled: Filled) -> None:
    hub = filled.hub
    assert ask(hub.endpoint, "GET", "/api/models/ada/gated/auth-check", "hf_bob").status == 200
    hub.set_gated_access("bob", [])
    assert ask(hub.endpoint, "GET", "/api/models/ada/gated/auth-check", "hf_bob").status == 403
    hub.set_gated_access("bob", [("model", "ada/gated")])
    assert ask(hub.endpoint, "GET", "/api/models/ada/gated/auth-check", "hf_bob").status == 200


def test_file_in_git(filled: Filled) -> None:
    path = "/ada/tiny/resolve/main/README.md"
    head = ask(filled.hub.endpoint, "HEAD", path)
    assert head.status == 200
    assert head.body == b""
    assert head.headers["x-repo-commit"] == filled.shas["tiny"]
    assert head.headers["content-length"] == str(len(CARD))
    assert head.headers["etag"] == f'"{Blob(CARD.encode(), False).oid}"'
    part = ask(filled.hub.endpoint, "GET", path, Range="bytes=4-15")
    assert (part.status, part.body) == (206, b"license: mit")
    assert part.headers["content-range"] == f"bytes 4-15/{len(CARD)}"


def test_file_in_lfs(filled: Filled) -> None:
    path = "/datasets/ada/rows/resolve/main/data/train-0.parquet"
    data = (filled.folders["rows"] / "data/train-0.parquet").read_bytes()
    head = ask(filled.hub.endpoint, "HEAD", path)
    assert head.status == 302
    assert head.headers["x-repo-commit"] == filled.shas["rows"]
    assert head.headers["x-linked-size"] == str(len(data))
    assert head.headers["x-linked-etag"] == f'"{Blob(data, True).sha256}"'
    location = head.headers["location"]
    assert location.startswith(filled.hub.content_endpoint)
    content_path = location.removeprefix(filled.hub.content_endpoint)
    whole = ask(filled.hub.content_endpoint, "GET", content_path)
    assert (whole.status, whole.body) == (200, data)
    tail = ask(filled.hub.content_endpoint, "GET", content_path, Range="bytes=-4")
    assert (tail.status, tail.body) == (206, b"PAR1")
    leaked = ask(filled.hub.content_endpoint, "GET", content_path, token="hf_ada")
    assert leaked.status == 400


def test_what_the_hub_does_not_offer(filled: Filled) -> None:
    endpoint = filled.hub.endpoint
    unknown = ask(endpoint, "GET", "/api/datasets/ada/rows/parquet")
    assert unknown.status == 404
    assert "x-error-code" not in unknown.headers
    assert ask(endpoint, "POST", "/api/models").status == 405
    assert ask(endpoint, "GET", "/api/models?emissions=1").status == 400
    assert ask(endpoint, "GET", "/api/models?sort=beauty").status == 400
    assert ask(endpoint, "GET", "/api/models?limit=0").status == 400
    bad = ask(endpoint, "GET", "/api/models/ada/tiny", token="hf_nobody")
    assert bad.status == 401
    assert bad.headers["x-error-message"] == "Invalid credentials in Authorization header"


def test_a_revision_may_hold_a_slash(tmp_path: Path) -> None:
    write(tmp_path / "repo", {"config.json": "{}"})
    with HubServer() as hub:
        hub.add_repo("model", "ada/m", tmp_path / "repo", branches={"refs/pr/1": tmp_path / "repo"})
        path = "/ada/m/resolve/refs%2Fpr%2F1/config.json"
        assert ask(hub.endpoint, "GET", path).body == b"{}"


@pytest.mark.parametrize(
    ("header", "status", "body"),
    [
        (None, 200, b"0123456789"),
        ("bytes=0-0", 206, b"0"),
        ("bytes=2-4", 206, b"234"),
        ("bytes=7-", 206, b"789"),
        ("bytes=7-99", 206, b"789"),
        ("bytes=-3", 206, b"789"),
        ("bytes=-99", 206, b"0123456789"),
        ("bytes=0-1,3-4", 200, b"0123456789"),
        ("lines=1-2", 200, b"0123456789"),
    ],
)
def test_ranges(header: str | None, status: int, body: bytes) -> None:
    response = content_response(b"0123456789", header, {})
    assert (response.status, response.body) == (status, body)


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=12-13", "bytes=4-2", "bytes=-0"])
def test_ranges_beyond_the_end(header: str) -> None:
    with pytest.raises(HubError) as refusal:
        content_response(b"0123456789", header, {})
    assert refusal.value.status == 416
    assert refusal.value.headers["Content-Range"] == "bytes */10"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is the reference here")
def test_object_ids_are_those_of_git(tmp_path: Path) -> None:
    # Names whose order differs between git's rule and a plain sort.
    files = {"a.txt": "1", "a/b/c.txt": "2", "a-b.txt": "3", "a/b.txt": "", "ab/é.txt": "4"}
    write(tmp_path, files)
    ours = commit_of_folder("model", tmp_path)
    person = {"NAME": "hub", "EMAIL": "hub@localhost", "DATE": "1700000000 +0000"}
    signature = {f"GIT_{who}_{k}": v for who in ("AUTHOR", "COMMITTER") for k, v in person.items()}
    no_config = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    environment = {**os.environ, **no_config, **signature}

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        run = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return run.stdout.strip()

    git("init", "--quiet")
    git("add", ".")
    tree = git("write-tree")
    assert ours.folders[""] == tree
    assert ours.folders["a"] == git("rev-parse", f"{tree}:a")
    assert ours.files["a.txt"].oid == git("rev-parse", f"{tree}:a.txt")
    assert ours.oid == git("commit-tree", tree, "-m", "Add files")


def test_a_revision_depends_on_the_files_only(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, {"config.json": "{}"})
        write(tmp_path / name / ".cache", {"huggingface": name})  # a download's bookkeeping
    write(tmp_path / "three", {"config.json": "[]"})
    one, two, three = (
        commit_of_folder("model", tmp_path / name).oid for name in ("one", "two", "three")
    )
    assert one == two != three


def test_card_keeps_scalars_and_flat_lists() -> None:
    card = read_card(Commit({"README.md": Blob(CARD.encode(), False)}))
    assert card == {
        "license": "mit",
        "tags": ["toy", "made-by-code"],
        "datasets": ["ada/rows", "ada/pictures"],
    }


@pytest.mark.parametrize("text", ["", "# Just a heading", "---\nlicense: mit\n"])
def test_card_needs_a_closed_block(text: str) -> None:
    assert read_card(Commit({"README.md": Blob(text.encode(), False)})) == {}


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

    origin = Origin("hub", RequestLog())
    origin.start(broken)
    with pytest.raises(ConnectionError):
        ask(origin.url, "GET", "/bug")
    origin.close()
    assert [type(failure) for failure in origin.failures] == [KeyError]
    assert "/bug" in capfd.readouterr().err
