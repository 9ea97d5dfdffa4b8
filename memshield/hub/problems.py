"""Problems of publishing for those who type a command, and for those who see a page."""

from __future__ import annotations

from typing import Any

from memshield.errors import UserError, UserErrors


class PublishingError(UserError):
    """A problem whose remedy is a command, where there is a command line.

    Args:
        field, problem, remedy: see `UserError`.
        advice: the remedy where there is none.
        warning: name of the warning that waits to be confirmed, if it is one.
    """

    def __init__(
        self, field: str, problem: str, remedy: str, advice: str = "", warning: str | None = None
    ) -> None:
        self.advice = advice
        self.warning = warning
        super().__init__(field, problem, remedy)


def noted(error: UserError) -> list[dict[str, Any]]:
    """The problems that an error tells of, as publish.json keeps them for a page."""
    parts = error.errors if isinstance(error, UserErrors) else [error]
    return [
        {
            "field": one.field,
            "problem": one.problem,
            "advice": one.advice if isinstance(one, PublishingError) else one.remedy,
            "warning": one.warning if isinstance(one, PublishingError) else None,
        }
        for one in parts
    ]
