"""Looks a requested audit's model and pictures up before it is queued. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from memshield.audit.sample_size import LEAST_HELD_OUT, LEAST_TRAINING
from memshield.data.source import SourceSettings, open_source, open_upload
from memshield.errors import UserError, UserErrors, collect_errors
from memshield.hub.account import api_for
from memshield.hub.catalog.audited import look_at_model
from memshield.hub.catalog.dataset import describe_dataset
from memshield.jobs.model_audit_request import ModelAuditArguments, is_folder
from memshield.network import NO_ANSWER, RepoType, Token, TryAgainError, gated
from memshield.quantities import plural

NOTHING_HELD_OUT = (
    "No picture is held out, so the report cannot say how much is given back beyond chance, nor "
    "how good the pictures are, nor whether an attacker can tell who was trained on."
)
_FIELDS = {
    "dataset": {
        "dataset_name": "dataset", "train_data_dir": "dataset", "dataset_split": "split",
        "dataset_config_name": "dataset_config",
    },
    "held_out": {
        "dataset_name": "held_out", "train_data_dir": "held_out",
        "dataset_split": "held_out_split", "dataset_config_name": "held_out",
        "image_column": "held_out", "caption_column": "held_out",
    },
}  # fmt: skip


@dataclass(frozen=True)
class AuditOutlook:
    """What is known before an audit starts.

    Attributes:
        notes: what its report will not be able to say, in sentences.
        needs_token: whether something of it can be read with a token only.
    """

    notes: tuple[str, ...]
    needs_token: bool


def check_sources(
    arguments: ModelAuditArguments, token: Token, uploads: Path | None = None
) -> AuditOutlook:
    """Look everything up that a request names.

    Args:
        arguments: valid, and open to their owner.
        token: see `memshield.network.Token`.
        uploads: folder of their owner's uploads.

    Raises:
        UserErrors: everything that would end the audit; fields are those of the arguments.
    """
    errors: list[UserError] = []
    needs_captions, base = False, arguments.base
    with collect_errors(errors):
        facts = look_at_model(arguments.model, arguments.base, arguments.weight_name, token)
        needs_captions, base = facts.needs_captions, facts.base
        if not needs_captions and arguments.prompts not in (None, "train"):
            remedy = "Choose training captions: it is given none of them."
            raise UserError("prompts", f"{arguments.model} takes no prompts", remedy)
    rows = held_out = None
    with collect_errors(errors), _of("dataset"):
        rows = _rows(
            arguments, arguments.dataset, arguments.split, needs_captions, token, uploads
        )  # fmt: skip
    other = arguments.held_out or (arguments.dataset if arguments.held_out_split else None)
    unread = other == arguments.dataset and any(one.field == "dataset" for one in errors)
    if other is not None and not unread:  # said once
        with collect_errors(errors), _of("held_out"):
            held_out = _rows(
                arguments, other, arguments.held_out_split, needs_captions, token, uploads
            )  # fmt: skip
    elif arguments.held_out_share is not None and rows is not None:
        held_out = rows * arguments.held_out_share // 100
        rows -= held_out
    share = arguments.held_out_share is not None
    if share and set(arguments.split or "") & set("[+"):
        problem = f"a share is of a whole split, and {arguments.split!r} is none"
        remedy = "Choose another split of it, such as train[5000:], or name a whole split."
        errors.append(UserError("held_out_share", problem, remedy))
    if arguments.prompts == "held_out" and other is None and not share:
        remedy = "Name some below, or choose the training captions."
        errors.append(UserError("prompts", "no pictures are held out", remedy))
    if rows is not None and rows < LEAST_TRAINING:
        problem = f"{rows} training pictures are too few, {LEAST_TRAINING} are the least"
        errors.append(UserError("dataset", problem, "Name all pictures that it was trained on."))
    if errors:
        raise UserErrors(errors)
    notes = []
    if other is None and arguments.held_out_share is None:
        notes.append(NOTHING_HELD_OUT)
    elif held_out is not None and held_out < LEAST_HELD_OUT:
        notes.append(
            f"{plural(held_out, 'picture')} held out, and {LEAST_HELD_OUT} are needed to say how "
            "much is given back beyond chance."
        )
    named = arguments.needed()
    if base is not None and base != arguments.base and not is_folder(base):
        named.append(("model", base))
    return AuditOutlook(tuple(notes), not all(_is_open(*one) for one in named))


@contextmanager
def _of(what: str) -> Iterator[None]:
    """Errors of a dataset's settings, by the fields of the request."""
    try:
        yield
    except UserError as error:
        raise UserErrors([
            one.moved(_FIELDS[what].get(one.field, one.field))
            for one in UserErrors([error]).errors
        ]) from None  # fmt: skip


def _rows(
    arguments: ModelAuditArguments,
    name: str,
    split: str | None,
    needs_captions: bool,
    token: Token,
    uploads: Path | None,
) -> int | None:
    """Number of pictures of a dataset; None where it is not known before the download."""
    split = split or "train"
    if is_folder(name):
        settings = SourceSettings(
            train_data_dir=name,
            dataset_split=split,
            image_column=arguments.image_column,
            caption_column=arguments.caption_column,
        )
        is_upload = uploads is not None and Path(name).is_relative_to(uploads)
        source = open_upload(settings) if is_upload else open_source(settings, token=False)
        if needs_captions and source.columns.caption is None:
            raise _no_captions()
        return len(source)
    config = arguments.dataset_config if name == arguments.dataset else None
    dataset = describe_dataset(name, config, token=token)
    if not dataset.has_access:
        raise gated("dataset_name", dataset.id, "dataset")
    rows = dataset.count(split)
    if dataset.columns:
        there = [column.name for column in dataset.columns]
        listed = f"The dataset has: {', '.join(there)}."
        for field in ("image_column", "caption_column"):
            column = getattr(arguments, field)
            if column is not None and column not in there:
                raise UserError(field, f"{dataset.id} has no column {column!r}", listed)
        if arguments.image_column is None and dataset.used is None:
            raise UserError("dataset_name", f"{dataset.id}: {dataset.unused}", listed)
        used = dataset.used.caption if dataset.used is not None else None
        if needs_captions and arguments.caption_column is None and used is None:
            raise _no_captions()
    return rows


def _no_captions() -> UserError:
    return UserError(
        "dataset_name",
        "this model draws what captions say, and these pictures have none",
        "Name the column of captions; in a folder, put them into metadata.jsonl (file_name, text).",
    )


def _is_open(kind: RepoType, name: str) -> bool:
    """Whether everybody may read a repository."""
    try:
        return not api_for(False).repo_info(name, repo_type=kind).gated
    except (HfHubHTTPError, OfflineModeIsEnabled, TryAgainError, *NO_ANSWER):
        return False
