"""Tags: names that stay where they are."""

from __future__ import annotations

import pytest
from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

from tests.hub_server import HubServer
from tests.hub_server.asking import Client, ask


def test_tags(hub: HubServer, client: Client) -> None:
    ada = client("hf_ada")
    ada.create_repo("ada/m")
    first = hub.head("model", "ada/m")
    ada.create_tag("ada/m", tag="v0", tag_message="before anything else")
    ada.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id="ada/m")
    second = hub.head("model", "ada/m")
    ada.create_tag("ada/m", tag="v1", revision=second)
    ada.create_tag("ada/m", tag="run/1", revision="v0")
    tags = {"v0": first, "v1": second, "run/1": first}
    assert hub.tags("model", "ada/m") == tags
    refs = ada.list_repo_refs("ada/m")
    assert {ref.name: ref.target_commit for ref in refs.tags} == tags
    assert ada.model_info("ada/m", revision="run/1").sha == first
    ada.delete_tag("ada/m", tag="run/1")
    assert hub.tags("model", "ada/m").keys() == {"v0", "v1"}
    with pytest.raises(RevisionNotFoundError):
        ada.delete_tag("ada/m", tag="run/1")


def test_a_tag_that_exists_stays(hub: HubServer, client: Client) -> None:
    ada = client("hf_ada")
    ada.create_repo("ada/rows", repo_type="dataset")
    ada.create_tag("ada/rows", tag="v1", repo_type="dataset")
    before = hub.tags("dataset", "ada/rows")
    ada.upload_file(
        path_or_fileobj=b"a", path_in_repo="a.csv", repo_id="ada/rows", repo_type="dataset"
    )
    ada.create_tag("ada/rows", tag="v1", repo_type="dataset", exist_ok=True)
    with pytest.raises(HfHubHTTPError) as refusal:
        ada.create_tag("ada/rows", tag="v1", repo_type="dataset")
    assert refusal.value.response.status_code == 409
    assert hub.tags("dataset", "ada/rows") == before


def test_mistakes(hub: HubServer, client: Client) -> None:
    ada = client("hf_ada")
    ada.create_repo("ada/m")
    with pytest.raises(RevisionNotFoundError):
        ada.create_tag("ada/m", tag="v1", revision="v9")
    for name in ("", "a b", "-v1", "a..b", "v1.lock", "a~1", None):
        path = "/api/models/ada/m/tag/main"
        assert ask(hub.endpoint, "POST", path, "hf_ada", body={"tag": name}).status == 400
    assert hub.tags("model", "ada/m") == {}
