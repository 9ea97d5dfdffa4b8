"""What the Hub's refusals, and its silence, mean for a person."""

from __future__ import annotations

from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from memshield.hub.problems import PublishingError
from memshield.hub.retries import OutOfRetriesError
from memshield.network import words_of

REFUSALS = (HfHubHTTPError, OutOfRetriesError, OfflineModeIsEnabled, ValueError)
"""What publishing ends in: of LFS, the client raises a plain ValueError."""
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
        return "publish", "HF_HUB_OFFLINE is set", "Unset it."
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
