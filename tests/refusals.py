"""What code says when it refuses a user's input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from memshield.errors import UserError


def refusal_of(call: Callable[..., object], *words: Any, **settings: Any) -> str:
    """The message of the `UserError` that a call must raise."""
    with pytest.raises(UserError) as caught:
        call(*words, **settings)
    return str(caught.value)
