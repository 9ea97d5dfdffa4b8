"""Tokens and their accounts; no other module reads a token."""

from __future__ import annotations

from dataclasses import dataclass

from huggingface_hub import HfApi, get_token

from memshield import __version__
from memshield.errors import UserError
from memshield.network import Token
from memshield.redaction import remember


@dataclass(frozen=True)
class Account:
    """The owner of a token.

    Attributes:
        name: of the user.
        organizations: in which the user may write.
    """

    name: str
    organizations: tuple[str, ...]

    def owns(self, namespace: str) -> bool:
        """Whether repositories of this namespace may be the user's to write."""
        return namespace == self.name or namespace in self.organizations


def own_token(token: Token = None) -> str | None:
    """The token to use, from the environment or the login store where none is given."""
    if token is not None and token is not True:
        return token or None  # somebody's whom this process must not remember for ever
    found = get_token()
    if found:
        remember(found)
    return found


def api_for(token: Token = None) -> HfApi:
    """A client of the Hub that sends this token and no other."""
    # False, not None: without a token of our own the library would look for one itself.
    return HfApi(
        token=own_token(token) or False,
        library_name="memshield",
        library_version=__version__,
    )


def account_of(api: HfApi) -> Account:
    """The account of a token.

    Raises:
        UserError: there is no token, or one that may only read.
    """
    if not api.token:
        raise UserError(
            "HF_TOKEN", "no token is set, and the Hub must know who publishes",
            "Set HF_TOKEN, or run `hf auth login`; the token needs write access.",
        )  # fmt: skip
    found = api.whoami()
    if (found.get("auth") or {}).get("accessToken", {}).get("role") == "read":
        raise UserError(
            "HF_TOKEN", "the token may only read", "Make one with write access to publish."
        )
    writable = [one for one in found.get("orgs") or () if one.get("roleInOrg") != "read"]
    return Account(found["name"], tuple(one["name"] for one in writable))
