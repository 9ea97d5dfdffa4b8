"""GET /api/whoami-v2."""

from __future__ import annotations

from tests.hub_server.access import require_user
from tests.hub_server.call import Call
from tests.hub_server.gitobjects import object_id
from tests.hub_server.messages import Response, json_response


def whoami(call: Call) -> Response:
    """The token's owner."""
    user = require_user(call.user)
    return json_response(
        {
            "type": "user",
            "id": object_id("user", user.name.encode())[:24],
            "name": user.name,
            "fullname": user.name,
            "isPro": False,
            "avatarUrl": f"/avatars/{user.name}.svg",
            "orgs": [],
        }
    )
