"""POST /oauth/token: the app fetches the token that its code stands for."""

from __future__ import annotations

import base64
import binascii
import secrets
import time
from collections.abc import Mapping
from urllib.parse import unquote

from tests.hub_server.call import Call
from tests.hub_server.id_token import id_token
from tests.hub_server.messages import HubError, Response, json_response
from tests.hub_server.oauth import profile
from tests.hub_server.oauth_clients import Grant
from tests.hub_server.users import Token

LIFETIME = 8 * 60 * 60


def issue_token(call: Call) -> Response:
    """A fresh token of the user, for the scopes that were granted."""
    form = {name: values[-1] for name, values in call.request.form().items()}
    client_id, client_secret = _credentials(call.request.headers.get("authorization"), form)
    if not call.hub.clients.is_authentic(client_id, client_secret):
        raise _error(401, "invalid_client", "no such app, or not its secret")
    if form.get("grant_type") != "authorization_code":
        raise _error(400, "unsupported_grant_type", "this Hub knows authorization_code only")
    grant = call.hub.clients.redeem_code(form.get("code", ""))
    if grant is None or (grant.client_id, grant.redirect_uri) != (
        client_id,
        form.get("redirect_uri"),
    ):
        raise _error(400, "invalid_grant", "no such code, or not for this app and address")
    value = f"hf_oauth_{secrets.token_hex(16)}"
    call.hub.store.add_token(
        Token(value, grant.user_name, scopes=grant.scopes, client_id=client_id)
    )
    answer: dict[str, object] = {
        "access_token": value,
        "token_type": "bearer",
        "expires_in": LIFETIME,
        "scope": " ".join(sorted(grant.scopes)),
    }
    if "openid" in grant.scopes:
        answer["id_token"] = id_token(_claims(call, grant), call.hub.signing_key)
    return json_response(answer, headers={"Cache-Control": "no-store"})


def _claims(call: Call, grant: Grant) -> dict[str, object]:
    now = int(time.time())
    user = profile(call.hub.endpoint, grant.user_name)
    return {
        **(user if "profile" in grant.scopes else {"sub": user["sub"]}),
        "iss": call.hub.endpoint,
        "aud": grant.client_id,
        "iat": now,
        "exp": now + LIFETIME,
        "auth_time": now,
        **({} if grant.nonce is None else {"nonce": grant.nonce}),
    }


def _credentials(authorization: str | None, form: Mapping[str, str]) -> tuple[str, str]:
    """By HTTP's basic authentication, or in the form."""
    if authorization is None:
        return form.get("client_id", ""), form.get("client_secret", "")
    scheme, _, encoded = authorization.partition(" ")
    try:
        text = base64.b64decode(encoded, validate=True).decode() if scheme == "Basic" else ""
    except (binascii.Error, UnicodeDecodeError):
        text = ""
    client_id, _, client_secret = text.partition(":")
    return unquote(client_id), unquote(client_secret)


def _error(status: int, code: str, description: str) -> HubError:
    return HubError(status, code, payload={"error_description": description})
