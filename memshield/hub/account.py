"""Tokens and their accounts; no other module reads a token."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
        without_payment: those of both for which the Hub knows no way to pay.
        rights: of a fine-grained token, by whose they are; None for a token that has them all.
    """

    name: str
    organizations: tuple[str, ...]
    without_payment: frozenset[str] = frozenset()
    rights: Mapping[str, frozenset[str]] | None = field(default=None, compare=False)

    def owns(self, namespace: str) -> bool:
        """Whether repositories of this namespace may be the user's to write."""
        return namespace == self.name or namespace in self.organizations

    def may(self, right: str, namespace: str) -> bool:
        """Whether the token has a right, such as job.write, in a namespace."""
        return self.rights is None or right in self.rights.get(namespace, frozenset())


def require_token(token: Token) -> Token:
    """The token as it is, if it can be sent; None and True stand for that of the environment.

    Raises:
        UserError: it holds what no header can; the message does not repeat it.
    """
    sent = get_token() if token is None or token is True else token
    if isinstance(sent, str) and not re.fullmatch(r"[!-~]+", sent):
        raise UserError(
            "HF_TOKEN",
            "it is empty or holds spaces or letters that no token has",
            "Copy it again from the settings of your account on the Hub.",
        )
    return token


def own_token(token: Token = None) -> str | None:
    """The token to use, from the environment or the login store where none is given."""
    if token is not None and token is not True:
        return token or None  # somebody's whom this process must not remember for ever
    found = get_token()
    if found:
        remember(found)
        require_token(found)
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
            "HF_TOKEN", "no token is set, and the Hub must know whose account it is",
            "Set HF_TOKEN, or run `hf auth login`; the token needs write access.",
            "Sign in, or run `hf auth login` in a terminal, with a token that may write.",
        )  # fmt: skip
    found = api.whoami()
    if (found.get("auth") or {}).get("accessToken", {}).get("role") == "read":
        raise UserError("HF_TOKEN", "the token may only read", "Make one with write access.")
    writable = [one for one in found.get("orgs") or () if one.get("roleInOrg") != "read"]
    return Account(
        found["name"],
        tuple(one["name"] for one in writable),
        frozenset(one["name"] for one in (found, *writable) if one.get("canPay") is False),
        _rights(found.get("auth") or {}),
    )


def _rights(auth: Mapping[str, Any]) -> Mapping[str, frozenset[str]] | None:
    fine = (auth.get("accessToken") or {}).get("fineGrained")
    if not isinstance(fine, Mapping) or not isinstance(fine.get("scoped"), list):
        return None
    rights: dict[str, frozenset[str]] = {}
    for one in fine["scoped"]:
        name = (one.get("entity") or {}).get("name", "")
        rights[name] = rights.get(name, frozenset()) | frozenset(one.get("permissions") or ())
    return rights
