"""How much may be stored, and where it is refused."""

from __future__ import annotations

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError

from tests.hub_server import HubServer
from tests.hub_server.asking import Client

REFUSAL = "Private repository storage limit reached, please upgrade your plan"


def upload(api: HfApi, repo_id: str, path: str, data: bytes) -> str:
    return api.upload_file(path_or_fileobj=data, path_in_repo=path, repo_id=repo_id).oid


def used(hub: HubServer, *repo_ids: str) -> int:
    files = [hub.repo_files("model", repo_id) for repo_id in repo_ids]
    return sum(len(data) for found in files for data in found.values())


@pytest.fixture
def api(client: Client) -> HfApi:
    """Ada's client, with two private repos and a public one."""
    ada = client("hf_ada")
    ada.create_repo("ada/m", private=True)
    ada.create_repo("ada/n", private=True)
    ada.create_repo("ada/open")
    return ada


def test_large_files(hub: HubServer, api: HfApi) -> None:
    hub.set_quota("ada", used(hub, "ada/m", "ada/n") + 10)
    head = hub.head("model", "ada/m")
    with pytest.raises(ValueError, match=REFUSAL):
        upload(api, "ada/m", "w.safetensors", b"x" * 11)
    two = [CommitOperationAdd(f"{name}.safetensors", name.encode() * 6) for name in "xy"]
    with pytest.raises(ValueError, match=REFUSAL):
        api.create_commit("ada/m", two, commit_message="Two that fit, but not both")
    assert hub.head("model", "ada/m") == head
    upload(api, "ada/m", "w.safetensors", b"x" * 10)
    with pytest.raises(ValueError, match=REFUSAL):
        upload(api, "ada/n", "w.safetensors", b"y")


def test_small_files(hub: HubServer, api: HfApi) -> None:
    hub.set_quota("ada", used(hub, "ada/m", "ada/n") + 10)
    head = hub.head("model", "ada/m")
    with pytest.raises(HfHubHTTPError, match=REFUSAL) as refusal:
        upload(api, "ada/m", "a.txt", b"a" * 11)
    assert refusal.value.response.status_code == 403
    assert hub.head("model", "ada/m") == head
    upload(api, "ada/m", "a.txt", b"a" * 10)
    # What is stored already is not counted again; what was deleted is stored all the same.
    upload(api, "ada/m", "b.txt", b"a" * 10)
    api.delete_file("a.txt", "ada/m")
    with pytest.raises(HfHubHTTPError, match=REFUSAL):
        upload(api, "ada/m", "c.txt", b"c")


def test_what_else_the_owner_has(hub: HubServer, api: HfApi) -> None:
    hub.set_quota("ada", used(hub, "ada/m", "ada/n"))
    upload(api, "ada/open", "a.txt", b"public ones are counted apart")
    with pytest.raises(HfHubHTTPError, match="Public repository storage limit"):
        upload(api, "ada/open", "b.txt", b"b" * 2000)
    api.create_repo("lab/m", private=True)
    upload(api, "lab/m", "a.txt", b"and so are an org's")
