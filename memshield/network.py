"""Requests to the Hub: tokens, and error messages for refusals and silence."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from typing import Literal

# The HTTP library of the pinned huggingface_hub, which lets its errors through.
from httpx2 import TransportError
from huggingface_hub import HfApi
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import (
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from memshield.errors import UserError
from memshield.redaction import redact

NO_ANSWER = (TransportError, OSError)
"""Refused or broken connections, unknown hosts, timeouts; catch the Hub's own refusals first."""


_SILENCE = (
    TransportError, ConnectionError, TimeoutError, socket.gaierror, LocalEntryNotFoundError,
)  # fmt: skip
"""What of it is the network's; other errors of the system are this machine's."""

NOT_JSON = (JSONDecodeError, UnicodeDecodeError)
"""Answers from something that is not a Hub: a proxy's page, or a network's sign-in page."""


OFFLINE = "the Hub is not asked, since this process works offline"


class TryAgainError(Exception):
    """The Hub could not answer now; the same request may succeed later.

    Within `memshield.hub.session.steady_session` requests raise it.

    Args:
        reason: in words.
        retry_after: the value of that header, if there was one.
    """

    def __init__(self, reason: str, retry_after: str | None = None) -> None:
        self.reason = reason
        self.retry_after = retry_after
        super().__init__(reason)


Token = str | bool | None
"""A token, None for that of HF_TOKEN or of `hf auth login`, False to ask signed out."""

RepoType = Literal["model", "dataset"]

_SIGN_IN = "Sign in, or run `hf auth login` in a terminal."
_NO_ACCESS = (
    "Check the name; a private or gated repository needs HF_TOKEN with access to it.",
    "Check the name. A private or gated repository needs an account that has access to it.",
)
"""Remedy and advice."""


def page_of(repo_type: RepoType, name: str) -> str:
    """The address of a repository's page."""
    return f"{ENDPOINT}/{'datasets/' if repo_type == 'dataset' else ''}{name}"


def page_of_tokens() -> str:
    """The address where an account makes a token with write access."""
    return f"{ENDPOINT}/settings/tokens/new?tokenType=write"


@contextmanager
def asking(
    field: str,
    name: str,
    repo_type: RepoType = "model",
    revision: str | None = None,
    token: Token = None,
) -> Iterator[None]:
    """Turn what the Hub's client raises inside into errors that a user can mend.

    Args:
        field: the setting that named the repository, for messages.
        name: its id, or words for what is asked.
        repo_type: what it should be.
        revision: the one that is asked for.
        token: it is asked with.

    Raises:
        UserError: with the reason; no token is ever part of it.
    """
    try:
        yield
    except HFValidationError:
        raise UserError(
            field, f"{name!r} is neither a folder here nor a Hub id", "Hub ids are owner/name."
        ) from None
    except GatedRepoError:
        raise gated(field, name, repo_type) from None
    except RevisionNotFoundError:
        which = "revision" if repo_type == "model" else "dataset_revision"
        raise UserError(
            which, f"{name} has no revision {revision!r}",
            "Give a branch, a tag or a commit of it, or leave it out for the newest.",
        ) from None  # fmt: skip
    except RepositoryNotFoundError:
        raise _not_found(field, name, repo_type, token) from None
    except HfHubHTTPError as error:
        raise _refused(field, name, error) from None
    except OfflineModeIsEnabled:
        raise UserError(field, OFFLINE, "Unset HF_HUB_OFFLINE.") from None
    except LocalTokenNotFoundError:
        raise UserError(
            "HF_TOKEN", "no token is set", "Set it, or run `hf auth login`.", _SIGN_IN
        ) from None
    except TryAgainError as error:
        raise UserError(field, error.reason, "Try again in a while.") from None
    except NO_ANSWER as error:
        answer = _answer_behind(error)
        if isinstance(answer, HfHubHTTPError):
            raise _refused(field, name, answer) from None
        if answer is not None:
            raise not_a_hub(field) from None
        if any(isinstance(one, _SILENCE) for one in _causes(error)):
            raise UserError(
                field, f"the Hub cannot be reached ({type(error).__name__})", "Check the network."
            ) from None
        raise _not_kept(field, name, error) from None
    except NOT_JSON:
        raise not_a_hub(field) from None


def gated(field: str, name: str, repo_type: RepoType = "model") -> UserError:
    """The error for files whose conditions the token's owner has not accepted."""
    return UserError(
        field,
        f"{name} is gated, and you have no access to it",
        f"Accept its conditions on {page_of(repo_type, name)} and sign in or set HF_TOKEN.",
        f"Accept its conditions on {page_of(repo_type, name)}, with the account that you use here.",
    )


def not_a_hub(field: str) -> UserError:
    """The error for an answer from something that is not a Hub; see `NOT_JSON`."""
    return UserError(
        field,
        f"what answers at {ENDPOINT} is not a Hub",
        "Check HF_ENDPOINT, and whether a proxy or the network's sign-in page answers instead.",
        "Check whether a proxy or the network's sign-in page answers instead.",
    )


def _answer_behind(error: BaseException) -> HfHubHTTPError | FileMetadataError | None:
    """The answer for which the client says that a file is not in its cache; None if none came."""
    for cause in _causes(error):
        if isinstance(cause, (HfHubHTTPError, FileMetadataError)):
            return cause
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that it was raised for."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _not_kept(field: str, name: str, error: BaseException) -> UserError:
    """An error of this machine: a full disk, missing rights, or files that are no model."""
    if isinstance(error, OSError) and error.errno is not None:
        words = error.strerror or type(error).__name__
        return UserError(
            field, f"{name} cannot be read or kept on this machine: {words}",
            "Check the room and the rights of the folders for models and of the Hub's cache.",
        )  # fmt: skip
    words = redact(" ".join(str(error).split()))[:300]
    return UserError(field, f"{name} cannot be opened: {words}", "Check the name and its files.")


def words_of(error: HfHubHTTPError) -> str:
    """The Hub's own words, on one line."""
    return " ".join((error.server_message or str(error)).split())[:300]


def _refused(field: str, name: str, error: HfHubHTTPError) -> UserError:
    words, status = words_of(error), error.response.status_code
    if status == 429 or status >= 500:
        return UserError(
            field, f"the Hub could not answer for {name} ({status}): {words}", "Try again later."
        )
    if status == 401 and (field == "HF_TOKEN" or "Invalid credentials" in words):
        return UserError(
            "HF_TOKEN",
            "the Hub does not know this token",
            "Sign in again, or set another one; it may have been revoked or have run out.",
        )
    return UserError(
        field,
        f"the Hub refused {name}: {words}",
        *_NO_ACCESS,
    )


def _not_found(field: str, name: str, repo_type: RepoType, token: Token) -> UserError:
    """Not there at all, not for this token, or there as the other type."""
    other: RepoType = "dataset" if repo_type == "model" else "model"
    try:
        HfApi().repo_info(name, repo_type=other, token=token)
    except (HfHubHTTPError, TryAgainError, *NO_ANSWER, *NOT_JSON):
        return UserError(
            field,
            f"{name} is not on the Hub or not readable",
            *_NO_ACCESS,
        )
    return UserError(
        field, f"{name} is a {other}, not a {repo_type}", f"Give the id of a {repo_type}."
    )
