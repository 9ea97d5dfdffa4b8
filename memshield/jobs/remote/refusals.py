"""Errors for jobs that the Hub does not start, in words for terminal and page."""

from __future__ import annotations

from huggingface_hub.errors import HfHubHTTPError

from memshield.errors import UserError
from memshield.network import words_of


def refusal(error: HfHubHTTPError, hardware: str) -> UserError:
    """Why the Hub starts no job."""
    status, words = error.response.status_code, words_of(error)
    if status == 402:
        return UserError(
            "Jobs", f"the account has no credit for Jobs: {words}",
            "Add credit in the billing settings of your account on the Hub. Nothing was started.",
        )  # fmt: skip
    if status == 403:
        return UserError(
            "token", f"it may not start Jobs: {words}",
            "Use a token with write access and the right to start Jobs.",
        )  # fmt: skip
    if status == 429:
        return too_many(words)
    if "flavor" in words.lower() or "hardware" in words.lower():
        return UserError("hardware", f"the Hub refuses {hardware}: {words}", "Choose another.")
    return UserError("Jobs", f"the Hub refuses the job ({status}): {words}", "")


def too_many(words: str) -> UserError:
    """The error for a quota that is reached."""
    return UserError(
        "Jobs", f"the account's quota of them is reached: {words}",
        "Stop one, or wait for one to end: your settings on the Hub list them under Jobs.",
    )  # fmt: skip
