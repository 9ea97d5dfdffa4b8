"""Errors that a user can mend, one or several at once, and what collects them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Something the user can mend: which setting, what was wrong, what to do.

    The entry points print its text and leave with exit code 2, without a traceback. Anything
    else that escapes is a bug, and keeps its traceback.

    Args:
        field: the setting or file concerned, as the user spells it.
        problem: the rule that was broken and the value that broke it.
        remedy: what to do about it.
        advice: what to do about it on a page, where there are no commands and no environment; by
            default the remedy.
    """

    def __init__(
        self, field: str, problem: str, remedy: str = "", advice: str | None = None
    ) -> None:
        self.field = field
        self.problem = problem
        self.remedy = remedy
        self.advice = remedy if advice is None else advice
        super().__init__(f"{field}: {problem}" + (f"\n  {remedy}" if remedy else ""))

    def moved(self, field: str) -> UserError:
        """The same error under another field."""
        return UserError(field, self.problem, self.remedy, self.advice)

    @property
    def on_page(self) -> str:
        """Problem and advice in one line, for a page where its input stands beside it."""
        return f"{self.problem}. {self.advice}" if self.advice else self.problem

    @property
    def labelled(self) -> str:
        """The same under the field, a setting in plain words, where no input stands beside it."""
        setting = re.fullmatch(r"-{0,2}([a-z][a-z0-9_]*)", self.field)
        return f"{setting[1].replace('_', ' ') if setting else self.field}: {self.on_page}"


class UserErrors(UserError):
    """Several problems found at once, so that a user mends them in one go."""

    def __init__(self, errors: list[UserError]) -> None:
        self.errors: list[UserError] = []
        for error in errors:
            self.errors += error.errors if isinstance(error, UserErrors) else [error]
        ValueError.__init__(self, "\n".join(str(error) for error in self.errors))
        self.field = ", ".join(error.field for error in self.errors)
        self.problem = str(self)
        self.remedy = self.advice = ""

    def moved(self, field: str) -> UserError:
        """The same errors under another field."""
        return UserErrors([error.moved(field) for error in self.errors])

    @property
    def on_page(self) -> str:
        """Each problem in a line."""
        return "\n".join(error.on_page for error in self.errors)

    @property
    def labelled(self) -> str:
        """Each problem in a line, under its own field."""
        return "\n".join(error.labelled for error in self.errors)


class _Collector:
    # A class whose __exit__ returns a bool: so type checkers know that it swallows errors, also
    # where the code inside returns.
    def __init__(self, errors: list[UserError], field: str | None) -> None:
        self._errors = errors
        self._field = field

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if not isinstance(error, UserError):
            return False
        for part in error.errors if isinstance(error, UserErrors) else [error]:
            moved = part.moved(self._field) if self._field else part
            self._errors.append(moved)
        return True


def collect_errors(errors: list[UserError], field: str | None = None) -> _Collector:
    """Return a context that appends a UserError raised inside to a list, and goes on after it.

    Args:
        errors: takes the errors, one by one.
        field: replaces their own fields.
    """
    return _Collector(errors, field)


class Problems:
    """What a series of checks has found wrong: each problem once, in the order of the checks.

    Attributes:
        errors: one a problem.
    """

    def __init__(self) -> None:
        self.errors: list[UserError] = []

    @contextmanager
    def keep(self) -> Iterator[None]:
        """Keep what a check inside refuses, and go on after it."""
        refused: list[UserError] = []
        with collect_errors(refused):
            yield
        for error in refused:
            if str(error) not in map(str, self.errors):
                self.errors.append(error)

    def refuse(self) -> None:
        """Raise what was found.

        Raises:
            UserError: the only problem, or all of them.
        """
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            raise UserErrors(self.errors)
