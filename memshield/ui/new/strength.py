"""The scale below the slider of the strength."""

from __future__ import annotations

from memshield.ui.widgets.templates import render


def strength_view(recommended: float) -> str:
    """Where plain training and the recommended value are.

    Args:
        recommended: 0 to 1.
    """
    return render("strength", recommended=recommended)
