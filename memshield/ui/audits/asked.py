"""Reads the form of an audit, and looks up what it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memshield.errors import UserError, UserErrors, collect_errors
from memshield.jobs.model_audit_check import check_sources
from memshield.jobs.model_audit_request import make_model_audit
from memshield.jobs.service import Jobs
from memshield.ui.audits.uploads import uploaded
from memshield.ui.runs.text_inputs import parse_whole
from memshield.ui.server.visitor import Visitor

BY_NAME, UPLOAD = "name", "upload"
NONE, SHARE, SPLIT, OTHER, HELD_UPLOAD = "none", "share", "split", "other", "upload"
TEXTS = ("model", "base", "weight_name", "dataset_config", "split", "image_column",
         "caption_column", "prompts")  # fmt: skip


@dataclass(frozen=True)
class CheckedAudit:
    """A form that can be submitted.

    Attributes:
        values: of `make_model_audit`.
        notes: what the report will not be able to say.
        needs_token: see `Jobs.submit`.
    """

    values: dict[str, Any]
    notes: tuple[str, ...]
    needs_token: bool


def check_audit(jobs: Jobs, visitor: Visitor, form: Mapping[str, object]) -> CheckedAudit:
    """Check a form.

    Args:
        jobs: of all owners.
        visitor: who sent it.
        form: values of the inputs by name, of any type.

    Raises:
        UserErrors: everything that is wrong with it.
    """
    owner = visitor.require_owner()
    uploads = jobs.folders.uploads(owner)
    errors: list[UserError] = []
    values: dict[str, Any] = {name: form.get(name) for name in TEXTS}
    if values["prompts"] == "train":
        del values["prompts"]  # the default, and nothing to models without text
    with collect_errors(errors):
        values["num_images"] = parse_whole(form.get("num_images"), "num_images")
    with collect_errors(errors):
        values |= _training(form, uploads)
    with collect_errors(errors):
        values |= _held_out(form, uploads)
    arguments = None
    with collect_errors(errors):
        arguments = make_model_audit(owner, values, jobs.folders)
    if errors or arguments is None:
        # Pictures that were not uploaded are no dataset either: one problem is enough.
        twice = {"dataset"} if any(error.field == "training" for error in errors) else set()
        raise UserErrors([error for error in errors if error.field not in twice])
    outlook = check_sources(arguments, visitor.token, uploads)
    return CheckedAudit(values, outlook.notes, outlook.needs_token)


def _training(form: Mapping[str, object], uploads: Path) -> dict[str, object]:
    if form.get("where") != UPLOAD:
        return {"dataset": form.get("dataset")}
    # What was typed for a dataset is not shown beside an upload, and is not meant for it.
    of_a_dataset = ("split", "dataset_config", "image_column", "caption_column")
    return {
        "dataset": _upload("training", form.get("training"), uploads),
        **dict.fromkeys(of_a_dataset),
    }


def _held_out(form: Mapping[str, object], uploads: Path) -> dict[str, object]:
    kind = form.get("held")
    if kind == SHARE:
        return {"held_out_share": _whole(_given("held_out_share", form))}
    if kind == SPLIT:
        if form.get("where") == UPLOAD:
            remedy = "Upload the others too, or choose a share."
            raise UserError("held_out_split", "pictures that you upload have no splits", remedy)
        return {"held_out_split": _given("held_out_split", form)}
    if kind == OTHER:
        return {
            "held_out": _given("held_out", form),
            "held_out_split": form.get("held_out_split"),
        }
    if kind == HELD_UPLOAD:
        return {"held_out": _upload("held_upload", form.get("held_upload"), uploads)}
    return {}


def _given(name: str, form: Mapping[str, object]) -> object:
    value = form.get(name)
    if value is None or value == "":
        raise UserError(name, "is empty", "Fill it in, or choose that there are none.")
    return value


def _whole(value: object) -> object:
    """A number of a browser, which knows no whole ones."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _upload(field: str, name: object, uploads: Path) -> str:
    try:
        return str(uploaded(uploads, name))
    except UserError as error:
        raise error.moved(field) from None
