"""What becomes of a UserError on the page: words in a handler's outputs."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from memshield.errors import UserError

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
