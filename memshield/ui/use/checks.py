"""Whether a published model is what it claims to be, check by check."""

from __future__ import annotations

from collections.abc import Sequence

from memshield.hub.verify import Check
from memshield.ui.widgets.templates import render


def checks_view(checks: Sequence[Check]) -> str:
    """The checks of `memshield.hub.verify`, each with what it found."""
    return render("checks", checks=checks, whole=not any(c.problems for c in checks))
