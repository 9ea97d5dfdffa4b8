"""Whether an account may start Jobs, as far as the Hub says before one is asked for."""

from __future__ import annotations

from memshield.errors import UserError
from memshield.hub.account import Account

START = "job.write"


def require_right_to_start(account: Account, namespace: str) -> None:
    """Refuse a fine-grained token that may not start Jobs; the Hub has the last word on others.

    Args:
        account: of the token.
        namespace: whose Jobs.

    Raises:
        UserError: naming the right.
    """
    if not account.may(START, namespace):
        raise UserError(
            "token", f"it may not start Jobs of {namespace}: it lacks the right {START}",
            "Give it that right in the settings of your tokens on the Hub, or use another one.",
        )  # fmt: skip


def about_payment(account: Account, namespace: str) -> list[str]:
    """What a person should know of the account's means, a line each.

    Credit is not told by the Hub: it refuses a job that nobody can pay, and bills nothing then.
    """
    if namespace not in account.without_payment:
        return []
    return [
        f"credit        the Hub knows no way for {namespace} to pay: without credit it will refuse "
        "the job, and bill nothing"
    ]
