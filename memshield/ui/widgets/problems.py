"""Views of problems and their remedies, of places that are still empty, and of states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from memshield.errors import UserError, UserErrors
from memshield.ui.widgets.templates import render

LABELS: Mapping[str, str] = {"HF_TOKEN": "Sign-in", "sign in": "Sign-in"}
NO_AUDIT = ("Not audited yet", "The audit measures how much of the training set is given back.")
NOT_PUBLISHED = ("Not published yet", "Preview it first: a preview sends nothing.")


def each(errors: UserError | Sequence[UserError]) -> list[UserError]:
    """Split errors into single problems, in order and without duplicates."""
    given = [errors] if isinstance(errors, UserError) else errors
    flat = UserErrors(list(given)).errors
    return list({(one.field, one.problem): one for one in flat}.values())


def problems_view(
    errors: UserError | Sequence[UserError],
    labels: Mapping[str, str] | None = None,
    title: str = "",
) -> str:
    """List all problems; empty if there are none.

    Args:
        errors: the problems.
        labels: the page's name of a field, by the setting's name; beside `LABELS`.
        title: above the list; by default the number of problems.
    """
    found = each(errors)
    if not found:
        return ""
    names = {**LABELS, **(labels or {})}
    rows = [(names.get(one.field, one.field), one.problem, one.advice) for one in found]
    return render("problems", rows=rows, title=title)


def problem_view(errors: UserError | Sequence[UserError], *fields: str) -> str:
    """Show problems right below the input that they belong to.

    Args:
        errors: the problems.
        fields: names of the input; without any, all problems are shown, whatever their field.
    """
    found = [one for one in each(errors) if not fields or one.field in fields]
    return render("problem", problems=found) if found else ""


def summary_view(fields: Sequence[tuple[str, str]], others: Sequence[UserError] = ()) -> str:
    """Say how many problems there are, and where; empty if there are none.

    Args:
        fields: names and labels of the fields with problems.
        others: problems of no field, in full.
    """
    return render("summary", fields=fields, others=others) if fields or others else ""


def empty_view(title: str, hint: str) -> str:
    """A placeholder, with a hint how to fill the place."""
    return render("empty", title=title, hint=hint)


def heading_view(title: str, words: str = "") -> str:
    """A heading with an explanation of the inputs below it."""
    return render("heading", title=title, words=words)


def status_view(words: str) -> str:
    """A line about the state of something; screen readers announce its changes."""
    return render("status", words=words)
