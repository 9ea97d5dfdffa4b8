"""Repos come to be, and are shown or hidden."""

from __future__ import annotations

import pytest
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from tests.hub_server import HubServer
from tests.hub_server.asking import Client, ask


def test_a_new_repo(hub: HubServer, client: Client) -> None:
    ada = client("hf_ada")
    model = ada.create_repo("ada/first", private=True)
    dataset = ada.create_repo("ada/first", repo_type="dataset")
    assert str(model) == f"{hub.endpoint}/ada/first"
    assert str(dataset) == f"{hub.endpoint}/datasets/ada/first"
    assert (dataset.repo_type, dataset.repo_id) == ("dataset", "ada/first")
    assert hub.is_private("model", "ada/first")
    assert not hub.is_private("dataset", "ada/first")
    files = hub.repo_files("model", "ada/first")
    assert list(files) == [".gitattributes"]
    assert b"*.safetensors filter=lfs" in files[".gitattributes"]
    assert not hub.exists("model", "ada/second")
    assert [commit.title for commit in ada.list_repo_commits("ada/first")] == ["initial commit"]


def test_times_tell_the_order(client: Client) -> None:
    ada = client("hf_ada")
    ada.create_repo("ada/older")
    ada.create_repo("ada/newer")
    older, newer = ada.model_info("ada/older"), ada.model_info("ada/newer")
    assert older.created_at and newer.created_at and newer.last_modified
    assert older.created_at == older.last_modified
    assert older.created_at < newer.created_at
    ada.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id="ada/older")
    changed = ada.model_info("ada/older")
    assert changed.last_modified and changed.last_modified > newer.last_modified
    assert changed.created_at == older.created_at
    assert next(iter(ada.list_models(sort="last_modified"))).id == "ada/older"


def test_a_repo_that_exists(hub: HubServer, client: Client) -> None:
    ada = client("hf_ada")
    url = ada.create_repo("ada/m", private=True)
    head = hub.head("model", "ada/m")
    assert ada.create_repo("ada/m", private=False, exist_ok=True) == url
    assert hub.is_private("model", "ada/m"), "its visibility is not touched"
    assert hub.head("model", "ada/m") == head
    with pytest.raises(HfHubHTTPError) as refusal:
        ada.create_repo("ada/m")
    assert refusal.value.response.status_code == 409


def test_the_name_alone_is_under_the_own_name(hub: HubServer, client: Client) -> None:
    assert client("hf_ada").create_repo("plain").repo_id == "ada/plain"
    assert hub.exists("model", "ada/plain")


def test_namespaces(hub: HubServer, client: Client) -> None:
    ada, eve = client("hf_ada"), client("hf_eve")
    assert ada.create_repo("lab/m").repo_id == "lab/m"
    for repo_id in ("eve/m", "nobody/m"):
        with pytest.raises(HfHubHTTPError) as refusal:
            ada.create_repo(repo_id, exist_ok=True)
        assert refusal.value.response.status_code == 403
    # Nobody may create it, but whoever sees it may go on: the client asks.
    assert eve.create_repo("lab/m", exist_ok=True) == f"{hub.endpoint}/lab/m"


@pytest.mark.parametrize(
    "payload",
    [
        {"name": "-m"},
        {"name": "a--b"},
        {"name": "a/b"},
        {"name": "m.git"},
        {"name": ""},
        {"name": "a" * 97},
        {"name": None},
        {"name": "m", "type": "space"},
        {"name": "m", "visibility": "protected"},
    ],
)
def test_what_cannot_be_created(hub: HubServer, payload: dict[str, object]) -> None:
    answer = ask(hub.endpoint, "POST", "/api/repos/create", "hf_ada", body=payload)
    assert answer.status == 400
    assert answer.json()["error"]


def test_the_body_must_be_an_object(hub: HubServer) -> None:
    for body in (b"", b"{", b"[]"):
        answer = ask(hub.endpoint, "POST", "/api/repos/create", "hf_ada", body=body)
        assert answer.status == 400


def test_visibility(hub: HubServer, client: Client) -> None:
    ada, eve = client("hf_ada"), client("hf_eve")
    ada.create_repo("ada/m", private=True)
    with pytest.raises(RepositoryNotFoundError):
        eve.model_info("ada/m")
    ada.update_repo_settings("ada/m", private=False)
    assert not hub.is_private("model", "ada/m")
    assert eve.model_info("ada/m").gated is False
    ada.update_repo_settings("ada/m", gated="manual")
    assert eve.model_info("ada/m").gated == "manual"
    assert not hub.is_private("model", "ada/m")
    ada.update_repo_settings("ada/m", visibility="private")
    assert hub.is_private("model", "ada/m")
    with pytest.raises(RepositoryNotFoundError):
        eve.update_repo_settings("ada/m", private=False)
    unknown = ask(hub.endpoint, "PUT", "/api/models/ada/m/settings", "hf_ada", body={"sdk": "x"})
    assert unknown.status == 400
