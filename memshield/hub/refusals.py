"""What the Hub's refusals, and its silence, mean for a person."""

from __future__ import annotations

from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from memshield.errors import UserError
from memshield.hub.patience import OutOfRetriesError
from memshield.network import words_of

REFUSALS = (HfHubHTTPError, OutOfRetriesError, OfflineModeIsEnabled, ValueError)
"""What publishing ends in: of LFS, the client raises a plain ValueError."""
_LFS = "LFS batch API returned errors"


def of_publishing(error: Exception, command: str) -> UserError:
    """An error for a publication that was refused.

    Args:
        error: one of `REFUSALS`, and no `UserError`.
        command: that goes on.

    Raises:
        ValueError: it was none of the Hub's.
    """
    go_on = f"Nothing is lost. Go on with: {command}"
    if isinstance(error, OutOfRetriesError):
        asked = f"; it asks to wait {error.asked:.0f} s" if error.asked else ""
        times = f"{error.attempts} times" if error.attempts > 1 else "once"
        return UserError("publish", f"{error.reason}, tried {times}{asked}", go_on)
    if isinstance(error, OfflineModeIsEnabled):
        return UserError("publish", "HF_HUB_OFFLINE is set", f"Unset it. {go_on}")
    if not isinstance(error, HfHubHTTPError):
        if _LFS not in str(error):
            raise error
        return UserError("publish", " ".join(str(error).split()), go_on)
    status, words = error.response.status_code, words_of(error)
    if status == 401:
        remedy = f"Make a new one with write access. {go_on}"
        return UserError("HF_TOKEN", f"the Hub does not accept the token: {words}", remedy)
    if status == 403:
        remedy = f"The token needs write access, and the account room. {go_on}"
        return UserError("publish", f"the Hub refuses: {words}", remedy)
    return UserError("publish", f"the Hub answered {status}: {words}", go_on)
