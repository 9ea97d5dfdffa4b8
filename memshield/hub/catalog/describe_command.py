"""`python -m memshield describe model|dataset ID`: what it is, before anything is downloaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from huggingface_hub.utils import logging
from huggingface_hub.utils.tqdm import disable_progress_bars

from memshield.config.flags import plain_parser
from memshield.errors import UserError
from memshield.families.kinds import network_of
from memshield.hub.catalog.dataset import describe_dataset
from memshield.hub.catalog.dataset_description import DatasetColumn, DatasetDescription
from memshield.hub.catalog.model import ModelDescription, describe_model
from memshield.hub.catalog.table import facts, rounded, table, to_json
from memshield.network import Token
from memshield.quantities import size

_CLASSES_SHOWN = 8


def main(argv: Sequence[str]) -> int:
    """Print a description."""
    parser = plain_parser(
        "python -m memshield describe",
        "Say what a model or a dataset on the Hub is and whether it can be trained with.",
    )
    parser.add_argument("what", choices=("model", "dataset"))
    parser.add_argument("id", help="owner/name, or the address of its page")
    parser.add_argument("--revision", metavar="TEXT", help="branch, tag or commit")
    parser.add_argument(
        "--dataset_config_name", metavar="TEXT", help="configuration (subset) of a dataset"
    )
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--signed_out", action="store_true", help="send no token")
    flags = parser.parse_args(argv)
    # What the libraries have to say of a card is no concern of who asks.
    logging.set_verbosity_error()
    disable_progress_bars()
    token: Token = False if flags.signed_out else None
    config = flags.dataset_config_name
    if flags.what == "dataset":
        dataset = describe_dataset(flags.id, config, flags.revision, token=token)
        print(to_json(dataset) if flags.json else _dataset(dataset))
        return 0
    if config is not None:
        raise UserError("--dataset_config_name", "a model has no configurations", "Leave it out.")
    model = describe_model(flags.id, flags.revision, token=token)
    print(to_json(model) if flags.json else facts(_model(model)))
    return 0


def _model(model: ModelDescription) -> Iterator[tuple[str, str]]:
    yield from _head(model)
    if model.license is not None and model.license.terms:
        yield "terms", model.license.terms
    yield "pipeline", f"{model.pipeline_class} ({model.family})"
    yield "trained as", "a LoRA" if model.training == "lora" else "all weights (full)"
    yield "resolution", "?" if model.resolution is None else f"{model.resolution} px"
    yield (
        "UNet" if network_of(model.family) == "unet" else "transformer",
        f"{rounded(model.parameters)} parameters",
    )
    yield "download", _size(model.download_bytes)


def _dataset(dataset: DatasetDescription) -> str:
    parts = [facts(_facts_of_dataset(dataset))]
    if dataset.splits:
        rows = [
            (split.name, "?" if split.rows is None else str(split.rows), _size(split.bytes))
            for split in dataset.splits
        ]
        parts.append(table(("SPLIT", "ROWS:", "SIZE:"), rows))
    if dataset.columns:
        parts.append(
            table(("COLUMN", "KIND", "USED AS"), [_column(dataset, one) for one in dataset.columns])
        )
    return "\n\n".join(parts)


def _facts_of_dataset(dataset: DatasetDescription) -> Iterator[tuple[str, str]]:
    yield from _head(dataset)
    if dataset.config is not None:
        others = ", ".join(name for name in dataset.configs if name != dataset.config)
        yield "configuration", dataset.config + (f" (others: {others})" if others else "")
    if dataset.format is not None:
        yield "format", dataset.format
    if dataset.unused is not None:
        yield "not usable as it is", dataset.unused


def _head(described: ModelDescription | DatasetDescription) -> Iterator[tuple[str, str]]:
    yield "id", described.id
    yield "commit", described.sha
    yield "license", "not stated" if described.license is None else str(described.license)
    if described.private:
        yield "private", "yes"
    if described.gated:
        accept = f"no access yet: accept its conditions on {described.page} and set HF_TOKEN"
        yield "gated", "yes, with access" if described.has_access else accept
    yield "downloads", f"{rounded(described.downloads)} in 30 days"


def _column(dataset: DatasetDescription, column: DatasetColumn) -> tuple[str, str, str]:
    kind = column.kind
    if column.classes:
        more = "" if len(column.classes) <= _CLASSES_SHOWN else ", ..."
        names = ", ".join(column.classes[:_CLASSES_SHOWN])
        kind_shown = f"{kind} ({len(column.classes)}: {names}{more})"
    else:
        kind_shown = f"other ({column.type})" if kind == "other" else kind
    uses = [
        use
        for use in ("image", "caption", "label")
        if getattr(dataset.used, use, None) == column.name
    ]
    return column.name, kind_shown, ", ".join(uses)


def _size(number: int | None) -> str:
    return "?" if number is None else size(number)
