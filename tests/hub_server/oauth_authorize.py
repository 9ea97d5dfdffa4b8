"""GET /oauth/authorize: the page on which a user lets an app in."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from urllib.parse import urlencode

from tests.hub_server.call import Call
from tests.hub_server.messages import HubError, Response
from tests.hub_server.oauth import SCOPES
from tests.hub_server.oauth_clients import Grant

DENY = ""


def authorize(call: Call) -> Response:
    """A page with a button for each user, each of whom is signed in here. A `login_hint` in the
    query is a button pressed in advance."""
    query = {name: values[-1] for name, values in call.request.query.items()}
    _check(call, query)
    chosen = query.get("login_hint")
    if chosen is None:
        return _page(query, call.hub.store.user_names())
    if chosen == DENY:
        return _back(query, {"error": "access_denied", "error_description": "The user said no"})
    if chosen not in call.hub.store.user_names():
        raise HubError(400, f"login_hint must be a user, got {chosen!r}")
    grant = Grant(
        user_name=chosen,
        client_id=query["client_id"],
        redirect_uri=query["redirect_uri"],
        scopes=frozenset(query.get("scope", "").split()),
        nonce=query.get("nonce"),
    )
    return _back(query, {"code": call.hub.clients.issue_code(grant)})


def _check(call: Call, query: Mapping[str, str]) -> None:
    # Not answered by a redirect: whoever made such a link must not be sent visitors.
    if call.hub.clients.secret(query.get("client_id", "")) is None:
        raise HubError(400, "client_id must be that of an app that was added")
    if not query.get("redirect_uri", "").startswith(("http://", "https://")):
        raise HubError(400, "redirect_uri must be a web address")
    if query.get("response_type") != "code":
        raise HubError(400, "response_type must be code")
    if "code_challenge" in query:
        raise HubError(400, "this Hub has no PKCE")
    unknown = sorted(set(query.get("scope", "").split()).difference(SCOPES))
    if unknown:
        raise HubError(400, f"there is no scope {', '.join(unknown)}")


def _back(query: Mapping[str, str], answer: Mapping[str, str]) -> Response:
    """Back to the app, whose own query stays."""
    address = query["redirect_uri"]
    if "state" in query:
        answer = {**answer, "state": query["state"]}
    separator = "&" if "?" in address else "?"
    return Response(302, {"Location": f"{address}{separator}{urlencode(answer)}"})


def _page(query: Mapping[str, str], names: list[str]) -> Response:
    fields = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in query.items()
    )
    buttons = "".join(
        f'<button name="login_hint" value="{escape(name)}">{escape(label)}</button>'
        for name, label in [*((name, name) for name in names), (DENY, "Deny")]
    )
    page = (
        '<!doctype html><html lang="en"><title>Sign in</title>'
        f"<h1>Sign in to {escape(query['client_id'])} as</h1><form>{fields}{buttons}</form></html>"
    )
    return Response(200, {"Content-Type": "text/html; charset=utf-8"}, page.encode())
