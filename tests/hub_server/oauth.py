"""Sign-in with the Hub, as OpenID Connect has it: where everything is, and who a user is."""

from __future__ import annotations

from tests.hub_server.access import require_identity
from tests.hub_server.account import account_id
from tests.hub_server.call import Call
from tests.hub_server.id_token import ALGORITHM, key_set
from tests.hub_server.messages import HubError, Response, json_response

TOKEN_PATH = "/oauth/token"
SCOPES = (
    "openid",
    "profile",
    "email",
    "read-billing",
    "read-repos",
    "gated-repos",
    "contribute-repos",
    "write-repos",
    "manage-repos",
    "inference-api",
    "jobs",
    "webhooks",
    "write-discussions",
)


def discovery(call: Call) -> Response:
    """The addresses, from which an app finds all others."""
    endpoint = call.hub.endpoint
    return json_response(
        {
            "issuer": endpoint,
            "authorization_endpoint": f"{endpoint}/oauth/authorize",
            "token_endpoint": f"{endpoint}{TOKEN_PATH}",
            "userinfo_endpoint": f"{endpoint}/oauth/userinfo",
            "jwks_uri": f"{endpoint}/oauth/jwks",
            "scopes_supported": SCOPES,
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code"],
            "subject_types_supported": ["public"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
        }
    )


def jwks(call: Call) -> Response:
    """What id tokens are checked with."""
    return json_response(key_set(call.hub.signing_key))


def userinfo(call: Call) -> Response:
    """The user of an access token."""
    identity = require_identity(call.identity)
    if not identity.has_scope("openid", "profile"):
        raise HubError(403, "insufficient_scope")
    endpoint = call.hub.endpoint
    orgs = [{**profile(endpoint, name), "roleInOrg": "write"} for name in identity.user.orgs]
    return json_response({**profile(endpoint, identity.user.name), "isPro": False, "orgs": orgs})


def profile(endpoint: str, name: str) -> dict[str, object]:
    """An account as OpenID Connect describes one. Flat, for it goes into id tokens, and gradio
    breaks on a list in one."""
    return {
        "sub": account_id(name),
        "name": name,
        "preferred_username": name,
        "profile": f"{endpoint}/{name}",
        "picture": f"{endpoint}/avatars/{name}.svg",
        "website": "",
    }
