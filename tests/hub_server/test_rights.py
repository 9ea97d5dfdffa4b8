"""Who may do what: owners, orgs, read tokens, tokens of apps, tokens that are no more."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

from tests.hub_server import HubServer
from tests.hub_server.asking import Client

WRITES: dict[str, Callable[[HfApi], object]] = {
    "upload": lambda api: api.upload_file(
        path_or_fileobj=b"{}", path_in_repo="config.json", repo_id="ada/open"
    ),
    "weights": lambda api: api.upload_file(
        path_or_fileobj=b"w", path_in_repo="w.safetensors", repo_id="ada/open"
    ),
    "tag": lambda api: api.create_tag("ada/open", tag="v1"),
    "settings": lambda api: api.update_repo_settings("ada/open", private=True),
    "check": lambda api: api.auth_check("ada/open", write=True),
}


def status(call: Callable[[], object]) -> int:
    """200, or that of the refusal."""
    try:
        call()
    except HfHubHTTPError as error:
        return error.response.status_code
    return 200


@pytest.fixture
def repos(hub: HubServer, client: Client) -> None:
    """Of ada: one that is open, one that is private, and one of her org."""
    client("hf_ada").create_repo("ada/open")
    client("hf_ada").create_repo("ada/secret", private=True)
    client("hf_ada").create_repo("lab/secret", private=True)


def test_whoami(hub: HubServer, client: Client) -> None:
    hub.add_token("ada", "hf_ada_read", role="read")
    me = client("hf_ada").whoami()
    assert me["name"] == "ada"
    assert [(org["type"], org["name"]) for org in me["orgs"]] == [("org", "lab")]
    assert me["auth"]["accessToken"]["role"] == "write"
    assert client("hf_ada_read").whoami()["auth"]["accessToken"]["role"] == "read"
    assert client("hf_eve").whoami()["orgs"] == []
    hub.add_oauth_token("eve", "hf_oauth_eve", ["profile"])
    app = client("hf_oauth_eve").whoami()
    assert (app["name"], app["auth"]["type"]) == ("eve", "app_token_as_user")


@pytest.mark.usefixtures("repos")
@pytest.mark.parametrize("write", WRITES)
def test_writers(hub: HubServer, client: Client, write: str) -> None:
    hub.add_token("ada", "hf_ada_read", role="read")
    assert status(lambda: WRITES[write](client("hf_eve"))) == 403
    assert status(lambda: WRITES[write](client("hf_ada_read"))) == 403
    assert hub.tags("model", "ada/open") == {}
    assert list(hub.repo_files("model", "ada/open")) == [".gitattributes"]
    assert not hub.is_private("model", "ada/open")
    assert status(lambda: WRITES[write](client("hf_ada"))) == 200


@pytest.mark.usefixtures("repos")
def test_a_read_token_reads_and_creates_nothing(hub: HubServer, client: Client) -> None:
    hub.add_token("ada", "hf_ada_read", role="read")
    reader = client("hf_ada_read")
    assert reader.model_info("ada/secret").private
    assert status(lambda: reader.create_repo("ada/new")) == 403
    assert not hub.exists("model", "ada/new")


@pytest.mark.usefixtures("repos")
def test_an_org_shares_its_repos(client: Client) -> None:
    bob, eve = client("hf_bob"), client("hf_eve")
    bob.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id="lab/secret")
    assert "lab/secret" in [model.id for model in bob.list_models()]
    assert "lab/secret" not in [model.id for model in eve.list_models()]
    for repo_id in ("lab/secret", "ada/secret"):
        with pytest.raises(RepositoryNotFoundError):
            eve.model_info(repo_id)
    with pytest.raises(RepositoryNotFoundError):
        bob.auth_check("ada/secret", write=True)


def test_an_expired_token(hub: HubServer, client: Client) -> None:
    ada = client("hf_ada")
    ada.create_repo("ada/m")
    hub.expire_token("hf_ada")
    for call in (ada.whoami, lambda: ada.model_info("ada/m"), lambda: ada.create_repo("ada/n")):
        with pytest.raises(HfHubHTTPError) as refusal:
            call()
        message = refusal.value.response.headers["x-error-message"]
        assert message == "Invalid credentials in Authorization header"
    with pytest.raises(ValueError, match="expired"):
        hub.expire_token("hf_ada")


@pytest.mark.usefixtures("repos")
@pytest.mark.parametrize(
    ("scopes", "reads", "creates", "writes"),
    [
        ("openid profile", 404, 403, 403),
        ("read-repos", 200, 403, 403),
        ("contribute-repos", 404, 200, 403),
        ("read-repos contribute-repos", 200, 200, 403),
        ("write-repos", 200, 403, 200),
        ("manage-repos", 200, 200, 200),
    ],
)
def test_scopes(
    hub: HubServer, client: Client, scopes: str, reads: int, creates: int, writes: int
) -> None:
    hub.add_oauth_token("ada", "hf_oauth", scopes.split())
    app = client("hf_oauth")
    assert status(lambda: app.model_info("ada/secret")) == reads
    assert status(lambda: app.create_repo("ada/new", private=True)) == creates
    assert status(lambda: WRITES["upload"](app)) == writes
    assert status(lambda: app.model_info("ada/open")) == 200


def test_an_app_writes_what_was_created_through_it(hub: HubServer, client: Client) -> None:
    for token, client_id in (("hf_one", "app"), ("hf_two", "app"), ("hf_other", "other")):
        hub.add_oauth_token("ada", token, ["contribute-repos"], client_id=client_id)
    client("hf_one").create_repo("ada/new", private=True)
    for token, expected in (("hf_one", 200), ("hf_two", 200), ("hf_other", 404)):
        api = client(token)
        assert status(partial(api.auth_check, "ada/new", write=True)) == expected
        names = [model.id for model in api.list_models()]
        assert names == (["ada/new"] if expected == 200 else [])


def test_gated_content_has_a_scope(hub: HubServer, client: Client) -> None:
    client("hf_ada").create_repo("ada/gated")
    client("hf_ada").update_repo_settings("ada/gated", gated="auto")
    hub.set_gated_access("eve", [("model", "ada/gated")])
    hub.add_oauth_token("eve", "hf_reads", ["read-repos"])
    hub.add_oauth_token("eve", "hf_gated", ["gated-repos"])
    client("hf_eve").auth_check("ada/gated")
    client("hf_gated").auth_check("ada/gated")
    with pytest.raises(GatedRepoError):
        client("hf_reads").auth_check("ada/gated")
