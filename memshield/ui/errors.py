"""What becomes of a UserError on the page: words in a handler's outputs, or an entry in a list."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from memshield.errors import UserError, UserErrors

P = ParamSpec("P")
T = TypeVar("T")


def on_error(show: Callable[[UserError], T]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a handler, so that a UserError becomes its outputs.

    Args:
        show: returns the outputs for an error.
    """

    def decorate(handler: Callable[P, T]) -> Callable[P, T]:
        @wraps(handler)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return handler(*args, **kwargs)
            except UserError as error:
                return show(error)

        return guarded

    return decorate


def attempt(call: Callable[[], T]) -> T | None:
    """Return what a call returns, or None if it raises a UserError."""
    try:
        return call()
    except UserError:
        return None


class _Collector:
    # A class, because type checkers do not expect a @contextmanager to swallow errors.
    def __init__(self, errors: list[UserError], field: str | None) -> None:
        self._errors = errors
        self._field = field

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if not isinstance(error, UserError):
            return False
        for part in error.errors if isinstance(error, UserErrors) else [error]:
            moved = UserError(self._field, part.problem, part.remedy) if self._field else part
            self._errors.append(moved)
        return True


def collect_errors(errors: list[UserError], field: str | None = None) -> _Collector:
    """Return a context that appends a UserError raised inside to a list, and goes on after it.

    Args:
        errors: takes the errors, one by one.
        field: replaces their own fields.
    """
    return _Collector(errors, field)
