"""Sign-in: from a page with a button for each user to a token that may do what was granted."""

from __future__ import annotations

import base64
import hmac
import json
import re
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.hub_server import HubServer
from tests.hub_server.asking import Answer, Client, ask

SECRET = "app-secret"
BACK = "http://127.0.0.1:7860/login/callback?_target_url=%2F"


@pytest.fixture(autouse=True)
def app(hub: HubServer) -> None:
    """An app to sign in to."""
    hub.add_oauth_client("app", SECRET)


def authorize(hub: HubServer, **changes: str) -> Answer:
    query = {
        "client_id": "app",
        "redirect_uri": BACK,
        "response_type": "code",
        "scope": "openid profile contribute-repos",
        "state": "s t",
        "nonce": "n",
    }
    return ask(hub.endpoint, "GET", f"/oauth/authorize?{urlencode({**query, **changes})}")


def returned(answer: Answer) -> dict[str, str]:
    """The query that the visitor brings back to the app."""
    assert answer.status == 302
    assert answer.headers["location"].startswith(f"{BACK}&")
    found = parse_qs(urlsplit(answer.headers["location"]).query)
    return {name: values[-1] for name, values in found.items()}


def fetch(hub: HubServer, code: str, *, basic: str | None = None, **changes: str) -> Answer:
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": BACK,
        "client_id": "app",
        "client_secret": SECRET,
    }
    headers = {}
    if basic is not None:
        del form["client_id"], form["client_secret"]
        headers["Authorization"] = f"Basic {base64.b64encode(basic.encode()).decode()}"
    body = urlencode({**form, **changes}).encode()
    return ask(hub.endpoint, "POST", "/oauth/token", body=body, **headers)


def code_of(hub: HubServer, user: str = "ada") -> str:
    return returned(authorize(hub, login_hint=user))["code"]


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_the_page_has_a_button_for_each_user(hub: HubServer) -> None:
    answer = authorize(hub, state='"><script>')
    page = answer.body.decode()
    assert answer.status == 200
    assert re.findall(r'<button name="login_hint" value="(\w*)">', page) == [
        "ada",
        "bob",
        "eve",
        "",
    ]
    assert "<script>" not in page
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page))
    assert fields["scope"] == "openid profile contribute-repos"


def test_back_at_the_app(hub: HubServer) -> None:
    back = returned(authorize(hub, login_hint="ada"))
    assert back["state"] == "s t"
    assert back["_target_url"] == "/"
    denied = returned(authorize(hub, login_hint=""))
    assert denied["error"] == "access_denied"
    assert "code" not in denied


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "other"},
        {"redirect_uri": "javascript:alert(1)"},
        {"response_type": "token"},
        {"scope": "openid everything"},
        {"code_challenge": "c"},
        {"login_hint": "nobody"},
    ],
)
def test_links_that_are_refused(hub: HubServer, changes: dict[str, str]) -> None:
    assert authorize(hub, **changes).status == 400


def test_the_token(hub: HubServer, client: Client) -> None:
    answer = fetch(hub, code_of(hub), basic=f"app:{SECRET}").json()
    assert answer["token_type"] == "bearer"
    assert answer["expires_in"] == 8 * 60 * 60
    assert set(answer["scope"].split()) == {"openid", "profile", "contribute-repos"}
    api = client(answer["access_token"])
    assert api.whoami()["name"] == "ada"
    api.create_repo("ada/new", private=True)
    again = fetch(hub, code_of(hub)).json()
    assert again["access_token"] != answer["access_token"]
    client(again["access_token"]).auth_check("ada/new", write=True)
    hub.expire_token(answer["access_token"])
    path = "/oauth/userinfo"
    assert ask(hub.endpoint, "GET", path, answer["access_token"]).status == 401
    profile = ask(hub.endpoint, "GET", path, again["access_token"]).json()
    assert profile["preferred_username"] == "ada"
    assert [org["preferred_username"] for org in profile["orgs"]] == ["lab"]


def test_the_id_token(hub: HubServer) -> None:
    addresses = ask(hub.endpoint, "GET", "/.well-known/openid-configuration").json()
    assert addresses["issuer"] == hub.endpoint
    assert addresses["token_endpoint"] == f"{hub.endpoint}/oauth/token"
    keys = ask(hub.endpoint, "GET", addresses["jwks_uri"].removeprefix(hub.endpoint)).json()
    token = fetch(hub, code_of(hub)).json()["id_token"]
    signed, _, signature = token.rpartition(".")
    key = decoded(keys["keys"][0]["k"])
    assert decoded(signature) == hmac.digest(key, signed.encode(), "sha256")
    header, claims = (json.loads(decoded(part)) for part in signed.split("."))
    assert header["alg"] in addresses["id_token_signing_alg_values_supported"]
    assert (claims["iss"], claims["aud"], claims["nonce"]) == (hub.endpoint, "app", "n")
    assert claims["preferred_username"] == "ada"
    assert claims["exp"] > claims["iat"]


def test_scopes_of_openid(hub: HubServer) -> None:
    code = returned(authorize(hub, login_hint="ada", scope="read-repos"))["code"]
    answer = fetch(hub, code).json()
    assert "id_token" not in answer
    assert ask(hub.endpoint, "GET", "/oauth/userinfo", answer["access_token"]).status == 403


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"code": "made-up"}, 400, "invalid_grant"),
        ({"redirect_uri": "http://127.0.0.1:1/"}, 400, "invalid_grant"),
        ({"client_secret": "guessed"}, 401, "invalid_client"),
        ({"client_id": "other"}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
    ],
)
def test_codes_that_are_refused(
    hub: HubServer, changes: dict[str, str], status: int, error: str
) -> None:
    answer = fetch(hub, **{"code": code_of(hub), **changes})
    assert (answer.status, answer.json()["error"]) == (status, error)


def test_a_code_is_good_for_once_and_for_one_app(hub: HubServer) -> None:
    code = code_of(hub)
    assert fetch(hub, code).status == 200
    assert fetch(hub, code).json()["error"] == "invalid_grant"
    hub.add_oauth_client("other", "other-secret")
    assert fetch(hub, code_of(hub), basic="other:other-secret").status == 400
    assert fetch(hub, code_of(hub), basic="app:guessed").status == 401
    bad = ask(hub.endpoint, "POST", "/oauth/token", body=b"", Authorization="Basic %%%")
    assert bad.status == 401
    with pytest.raises(ValueError, match="unique"):
        hub.add_oauth_client("app", SECRET)
