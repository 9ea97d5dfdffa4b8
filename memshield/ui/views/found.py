"""What a search of the Hub found."""

from __future__ import annotations

from memshield.hub.catalog.found import DatasetFound, ModelFound, Page
from memshield.ui.views.problems import empty_view
from memshield.ui.views.templates import render
from memshield.ui.views.words import short

FAMILIES = {
    "unconditional": "without prompts",
    "stable_diffusion": "Stable Diffusion",
    "stable_diffusion_xl": "Stable Diffusion XL",
}
_HINT = "Try fewer words, or name a repository as owner/name."


def models_view(found: Page[ModelFound]) -> str:
    """Models that can be fine-tuned."""
    if not found.items:
        return empty_view("No model found", _HINT)
    return render("models", page=found, families=FAMILIES, short=short)


def datasets_view(found: Page[DatasetFound]) -> str:
    """Datasets with pictures."""
    if not found.items:
        return empty_view("No dataset found", _HINT)
    return render("datasets", page=found)
