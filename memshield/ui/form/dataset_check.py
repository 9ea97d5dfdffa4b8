"""Checks the pictures that a form names before anything is downloaded."""

from __future__ import annotations

from dataclasses import dataclass

from memshield.data.source import SourceSettings, open_source, open_upload
from memshield.errors import UserError, UserErrors, collect_errors
from memshield.hub.catalog.dataset import describe_dataset
from memshield.hub.catalog.dataset_description import DatasetDescription
from memshield.network import Token, gated
from memshield.ui.form.choices import Choices, to_config

_NO_CAPTIONS = (
    "this model needs captions, and there are none",
    "Name the column of captions; in a folder, put them into metadata.csv or metadata.jsonl "
    "(file_name, text).",
)


@dataclass(frozen=True)
class PictureFacts:
    """Facts about the pictures.

    Attributes:
        rows: number of pictures; None if unknown before they are downloaded.
        on_hub: whether they are downloaded from the Hub.
    """

    rows: int | None
    on_hub: bool


def inspect_pictures(choices: Choices, token: Token, needs_captions: bool) -> PictureFacts:
    """Look up the dataset of a form, or open its folder.

    Args:
        choices: a form with valid names.
        token: see `memshield.network.Token`.
        needs_captions: whether the model is conditioned on text.

    Raises:
        UserErrors: fields are settings.
    """
    if choices.dataset is not None:
        revision = choices.advanced.get("dataset_revision")
        dataset = describe_dataset(choices.dataset, choices.dataset_config, revision, token=token)
        if not dataset.has_access:
            raise gated("dataset_name", dataset.id, "dataset")
        errors: list[UserError] = []
        rows = None
        with collect_errors(errors):
            rows = dataset.count(choices.split or "train")
        errors += _wrong_columns(dataset, choices, needs_captions)
        if errors:
            raise UserErrors(errors)
        return PictureFacts(rows, on_hub=True)
    if choices.folder is None:
        return PictureFacts(choices.starting_point.rows, on_hub=False)
    values = to_config(choices)
    names = ("train_data_dir", "dataset_split", "image_column", "caption_column", "label_column")
    asked = {name: values[name] for name in names if values.get(name) is not None}
    settings = SourceSettings(**asked)
    source = open_upload(settings) if choices.uploaded else open_source(settings, token=False)
    if needs_captions and source.columns.caption is None:
        raise UserError("caption_column", *_NO_CAPTIONS)
    return PictureFacts(len(source), on_hub=False)


def _wrong_columns(
    dataset: DatasetDescription, choices: Choices, needs_captions: bool
) -> list[UserError]:
    errors: list[UserError] = []
    if not dataset.columns:
        return errors  # unknown before the download
    there = {column.name: column for column in dataset.columns}
    listed = f"The dataset has: {', '.join(there)}."
    for field, name in (
        ("image_column", choices.image_column),
        ("caption_column", choices.caption_column),
        ("label_column", choices.label_column),
    ):
        if name is not None and name not in there:
            errors.append(UserError(field, f"there is no column {name!r}", listed))
    if choices.image_column is None and dataset.used is None:
        errors.append(UserError("image_column", dataset.unused or "was not found", listed))
    named = there.get(choices.image_column or "")
    # Pictures stored as bytes are of kind "other".
    if named is not None and named.kind in ("text", "class label"):
        errors.append(UserError("image_column", f"{named.name!r} holds no pictures", listed))
    caption = choices.caption_column or (dataset.used.caption if dataset.used else None)
    if needs_captions and caption is None:
        errors.append(UserError("caption_column", *_NO_CAPTIONS))
    return errors
