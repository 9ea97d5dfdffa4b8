"""GET /api/whoami-v2."""

from __future__ import annotations

from tests.hub_server.access import require_identity
from tests.hub_server.call import Call
from tests.hub_server.gitobjects import object_id
from tests.hub_server.messages import Response, json_response
from tests.hub_server.users import Token


def whoami(call: Call) -> Response:
    """The token's owner, their orgs, and what the token may do."""
    identity = require_identity(call.identity)
    return json_response(
        {
            "type": "user",
            **_account(identity.user.name),
            "canPay": identity.user.name not in call.hub.jobs.without_credit,
            "isPro": False,
            "orgs": [
                {
                    "type": "org",
                    **_account(name),
                    "roleInOrg": "write",
                    "canPay": name not in call.hub.jobs.without_credit,
                }
                for name in identity.user.orgs
            ],
            "auth": _auth(identity.token),
        }
    )


def account_id(name: str) -> str:
    """The real one is a database key; all that matters is that it is one per account."""
    return object_id("user", name.encode())[:24]


def _account(name: str) -> dict[str, object]:
    avatar = f"/avatars/{name}.svg"
    return {"id": account_id(name), "name": name, "fullname": name, "avatarUrl": avatar}


def _auth(token: Token) -> dict[str, object]:
    if token.client_id is not None:
        return {"type": "app_token_as_user"}
    created_at = "2024-01-01T00:00:00.000Z"
    access_token = {"displayName": "test", "role": token.role, "createdAt": created_at}
    if token.permissions is not None:
        access_token["role"] = "fineGrained"
        entity = {"_id": account_id(token.user_name), "type": "user", "name": token.user_name}
        scoped = [{"entity": entity, "permissions": sorted(token.permissions)}]
        rights = {"canReadGatedRepos": False, "global": [], "scoped": scoped}
        return {"type": "access_token", "accessToken": {**access_token, "fineGrained": rights}}
    return {"type": "access_token", "accessToken": access_token}
