"""What is wrong and what to do about it; and what to do where there is nothing yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from memshield.errors import UserError, UserErrors
from memshield.ui.widgets.templates import render

NO_RUNS = ("No runs yet", "Choose a model and a dataset, or start with the demo.")
NO_MODEL = ("No model yet", "Search the Hub, or name one as owner/name.")
NO_AUDIT = ("Not audited yet", "The audit measures how much of the training set is given back.")
NOT_PUBLISHED = ("Not published yet", "Check what would be published first; nothing is sent.")


def each(errors: UserError | Sequence[UserError]) -> list[UserError]:
    """Single problems, each once, in order."""
    given = [errors] if isinstance(errors, UserError) else list(errors)
    flat = [one for error in given for one in _parts(error)]
    return list({(one.field, one.problem): one for one in flat}.values())


def problems_view(
    errors: UserError | Sequence[UserError],
    labels: Mapping[str, str] | None = None,
    title: str = "",
) -> str:
    """All problems as a list; nothing where there are none.

    Args:
        errors: what was found.
        labels: how the page calls a field, by the setting's name.
        title: above the list; by default it says how many there are.
    """
    found = each(errors)
    if not found:
        return ""
    rows = [((labels or {}).get(one.field, one.field), one.problem, one.remedy) for one in found]
    return render("problems", rows=rows, title=title)


def problem_view(errors: UserError | Sequence[UserError], *fields: str) -> str:
    """The problems of one field (by any of its names), to stand right below it."""
    found = [one for one in each(errors) if one.field in fields]
    return render("problem", problems=found) if found else ""


def summary_view(fields: Sequence[tuple[str, str]], others: Sequence[UserError] = ()) -> str:
    """How many problems there are, and where; nothing where there are none.

    Args:
        fields: names and labels of the fields that have some.
        others: problems of no field, in full.
    """
    return render("summary", fields=fields, others=others) if fields or others else ""


def empty_view(title: str, hint: str) -> str:
    """A place where something will be, and how to get it there."""
    return render("empty", title=title, hint=hint)


def _parts(error: UserError) -> Sequence[UserError]:
    return error.errors if isinstance(error, UserErrors) else [error]


def heading_view(title: str, words: str = "") -> str:
    """What the inputs below it are for."""
    return render("heading", title=title, words=words)


def status_view(words: str) -> str:
    """A line that says how something goes; read out where it changes."""
    return render("status", words=words)
