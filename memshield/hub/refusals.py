"""Problems of publishing: the Hub's refusals and its silence, in words for terminal and page."""

from __future__ import annotations

from typing import Any

from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from memshield.errors import UserError, UserErrors
from memshield.hub.retries import OutOfRetriesError
from memshield.network import NOT_JSON, OFFLINE, not_a_hub, words_of

REFUSALS = (HfHubHTTPError, OutOfRetriesError, OfflineModeIsEnabled, ValueError)
"""Errors that end publishing; for LFS and an answer that is not JSON it is a plain ValueError."""
_LFS = "LFS batch API returned errors"


def of_publishing(error: Exception, command: str) -> PublishingError:
    """An error for a publication that was refused.

    Args:
        error: one of `REFUSALS`, and no user's.
        command: that goes on.

    Raises:
        ValueError: it was none of the Hub's.
    """
    field, problem, remedy = _said(error)
    kept = f"{remedy} Nothing is lost".lstrip()
    go_on, again = f"{kept}. Go on with: {command}", f"{kept}: publish again and it goes on."
    return PublishingError(field, problem, go_on, again)


def _said(error: Exception) -> tuple[str, str, str]:
    """Field, problem and remedy."""
    if isinstance(error, OutOfRetriesError):
        asked = f"; it asks to wait {error.asked:.0f} s" if error.asked else ""
        times = f"{error.attempts} times" if error.attempts > 1 else "once"
        return "publish", f"{error.reason}, tried {times}{asked}", ""
    if isinstance(error, OfflineModeIsEnabled):
        return "publish", OFFLINE, "Unset HF_HUB_OFFLINE."
    if isinstance(error, NOT_JSON):
        known = not_a_hub("publish")
        return known.field, known.problem, known.remedy
    if not isinstance(error, HfHubHTTPError):
        if _LFS not in str(error):
            raise error
        return "publish", " ".join(str(error).split()), ""
    status, words = error.response.status_code, words_of(error)
    if status == 401:
        problem = f"the Hub does not accept the token: {words}"
        return "HF_TOKEN", problem, "Make a new one with write access."
    if status == 403:
        remedy = "The token needs write access, and the account room."
        return "publish", f"the Hub refuses: {words}", remedy
    return "publish", f"the Hub answered {status}: {words}", ""


class PublishingError(UserError):
    """A problem whose remedy is a command, where there is a command line.

    Args:
        field, problem, remedy: see `UserError`.
        advice: what to do on a page; nothing by default, since the page has its own words.
        warning: name of the warning that waits to be confirmed, if it is one.
    """

    def __init__(
        self, field: str, problem: str, remedy: str, advice: str = "", warning: str | None = None
    ) -> None:
        self.warning = warning
        super().__init__(field, problem, remedy, advice)


def noted(error: UserError) -> list[dict[str, Any]]:
    """The problems that an error tells of, as publish.json keeps them for a page."""
    parts = error.errors if isinstance(error, UserErrors) else [error]
    return [
        {
            "field": one.field,
            "problem": one.problem,
            "advice": one.advice,
            "warning": one.warning if isinstance(one, PublishingError) else None,
        }
        for one in parts
    ]
