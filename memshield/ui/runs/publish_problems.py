"""Rewords problems of publishing with the page's own labels and remedies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from memshield.errors import UserError
from memshield.hub.consent import CONSENTS, WarningName
from memshield.hub.refusals import noted
from memshield.ui.widgets.problems import LABELS as SIGN_IN_LABELS

LABELS: Mapping[str, str] = {
    "hub_model_id": "Repository",
    "hub_private_repo": "Everybody may read it",
    "hub_license": "License",
    "hub_confirm": "Publish all the same",
    **SIGN_IN_LABELS,
    "job": "Run",
    "run": "Run",
    "model": "Model",
    "beside": "Shown beside it",
    "publish": "Publishing",
}
_REMEDIES: Mapping[str, str] = {
    "no_audit": "Audit it under Audit, or publish to a private repository",
    "cannot_say": "Train with more held-out pictures, or publish to a private repository",
    "memorization": "Make an earlier round the model under Audit, or publish to a private "
    "repository",
    "no_license": f"State one under {LABELS['hub_license']}, such as mit",
    "license": f"Ask its owner, or state it under {LABELS['hub_license']}",
}
_SIGN_IN = "Sign out and in again, and allow this app to write."


def on_page(error: UserError, on_space: bool) -> list[UserError]:
    """Reword the problems of an error for the page.

    Args:
        error: from publishing.
        on_space: whether visitors sign in.
    """
    return [_reworded(one, on_space) for one in noted(error)]


def problems_in(values: Mapping[str, Any], on_space: bool) -> list[UserError]:
    """Reword the problems in publish.json; [] if it holds none.

    Args:
        values: of publish.json.
        on_space: whether visitors sign in.
    """
    found = values.get("problems")
    listed = found if isinstance(found, list) else []
    return [_reworded(one, on_space) for one in listed if isinstance(one, dict)]


def _reworded(one: Mapping[str, Any], on_space: bool) -> UserError:
    field, problem, advice = (str(one.get(name) or "") for name in ("field", "problem", "advice"))
    warning: Any = one.get("warning")
    if isinstance(warning, str) and warning in _REMEDIES:
        asked = CONSENTS[cast("WarningName", warning)].asked
        advice = f"{_REMEDIES[warning]}. Or agree: “{asked}”"
    elif field == "HF_TOKEN" and on_space:
        advice = _SIGN_IN
    return UserError(LABELS.get(field, field.replace("_", " ")), problem, advice)
