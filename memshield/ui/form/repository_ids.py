"""Checks that typed names are ids on the Hub, and never folders of this machine."""

from __future__ import annotations

from pathlib import Path

from memshield.config.shipped import APP_ROOT
from memshield.errors import UserError, collect_errors
from memshield.hub.catalog.access import require_id
from memshield.network import RepoType
from memshield.ui.form.choices import Choices


def id_problems(choices: Choices) -> list[UserError]:
    """List invalid and missing names of a form; fields are settings."""
    errors = []
    recipe = choices.starting_point
    needs_model, needs_pictures = not recipe.scratch, recipe.rows is None
    if choices.model is not None or needs_model:
        errors += _wrong(choices.model, "pretrained_model_name_or_path", "model")
    if choices.folder is not None and choices.dataset is not None:
        errors.append(
            UserError(
                "train_data_dir",
                "both a dataset and your own pictures are given",
                "Choose one of the two.",
            )
        )
    elif choices.folder is not None:
        if not choices.folder.is_dir():
            errors.append(
                UserError("train_data_dir", "there is no such folder", "Upload the pictures again.")
            )
    elif choices.dataset is not None or needs_pictures:
        errors += _wrong(choices.dataset, "dataset_name", "dataset")
    return errors


def _wrong(text: str | None, field: str, repo_type: RepoType) -> list[UserError]:
    if text is None or not text.strip():
        return [UserError(field, "is missing", f"Search for a {repo_type}, or paste its address.")]
    errors: list[UserError] = []
    with collect_errors(errors):
        require_on_hub(text, field, repo_type)
    return errors


def require_on_hub(text: str, field: str, repo_type: RepoType = "model") -> str:
    """Return the id that a text holds.

    Raises:
        UserError: it is not an id, or a local folder of that name would be used instead.
    """
    name = require_id(text, repo_type, field)
    # A training looks for a folder first, relative to its working directory.
    for place in (Path.cwd(), APP_ROOT):
        if (place / name).exists():
            raise UserError(
                field, f"{name} is a folder of this machine", f"Give the id of a {repo_type}."
            )
    return name
