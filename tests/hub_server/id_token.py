"""OpenID Connect's id token: who has signed in, in a signature that the app can check."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping

ALGORITHM = "HS256"
KEY_ID = "test"


def id_token(claims: Mapping[str, object], key: bytes) -> str:
    """The claims as a JSON Web Token."""
    header = {"alg": ALGORITHM, "typ": "JWT", "kid": KEY_ID}
    signed = ".".join(_base64(json.dumps(part).encode()) for part in (header, dict(claims)))
    return f"{signed}.{_base64(hmac.digest(key, signed.encode(), 'sha256'))}"


def key_set(key: bytes) -> dict[str, object]:
    """What apps check id tokens with. The Hub signs with a private key and shows the public one;
    here it is one key, for Python's own library has no signatures of that kind."""
    shown = {"kty": "oct", "kid": KEY_ID, "alg": ALGORITHM, "use": "sig", "k": _base64(key)}
    return {"keys": [shown]}


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
