"""`python -m memshield describe model|dataset ID`: what it is, before anything is downloaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from huggingface_hub.utils import logging
from huggingface_hub.utils.tqdm import disable_progress_bars

from memshield.config.flags import plain_parser
from memshield.errors import UserError
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
    own = parser.parse_args(argv)
    # What the libraries have to say of a card is no concern of who asks.
    logging.set_verbosity_error()
    disable_progress_bars()
    token: Token = False if own.signed_out else None
    config = own.dataset_config_name
    if own.what == "dataset":
        dataset = describe_dataset(own.id, config, own.revision, token=token)
        print(to_json(dataset) if own.json else _dataset(dataset))
        return 0
    if config is not None:
        raise UserError("--dataset_config_name", "a model has no configurations", "Leave it out.")
    model = describe_model(own.id, own.revision, token=token)
    print(to_json(model) if own.json else facts(_model(model)))
    return 0


def _model(found: ModelDescription) -> Iterator[tuple[str, str]]:
    yield from _head(found)
    yield "pipeline", f"{found.pipeline_class} ({found.family})"
    yield "trained as", "a LoRA" if found.training == "lora" else "a whole UNet (full)"
    yield "resolution", "?" if found.resolution is None else f"{found.resolution} px"
    yield "UNet", f"{rounded(found.parameters)} parameters"
    yield "download", _size(found.download_bytes)


def _dataset(found: DatasetDescription) -> str:
    parts = [facts(_facts_of_dataset(found))]
    if found.splits:
        rows = [
            (split.name, "?" if split.rows is None else str(split.rows), _size(split.bytes))
            for split in found.splits
        ]
        parts.append(table(("SPLIT", "ROWS:", "SIZE:"), rows))
    if found.columns:
        parts.append(
            table(("COLUMN", "KIND", "USED AS"), [_column(found, one) for one in found.columns])
        )
    return "\n\n".join(parts)


def _facts_of_dataset(found: DatasetDescription) -> Iterator[tuple[str, str]]:
    yield from _head(found)
    if found.config is not None:
        others = ", ".join(name for name in found.configs if name != found.config)
        yield "configuration", found.config + (f" (others: {others})" if others else "")
    if found.format is not None:
        yield "format", found.format
    if found.unused is not None:
        yield "not usable as it is", found.unused


def _head(found: ModelDescription | DatasetDescription) -> Iterator[tuple[str, str]]:
    yield "id", found.id
    yield "commit", found.sha
    yield "licence", "not stated" if found.license is None else str(found.license)
    if found.private:
        yield "private", "yes"
    if found.gated:
        accept = f"no access yet: accept its conditions on {found.page} and set HF_TOKEN"
        yield "gated", "yes, with access" if found.has_access else accept
    yield "downloads", f"{rounded(found.downloads)} in 30 days"


def _column(found: DatasetDescription, column: DatasetColumn) -> tuple[str, str, str]:
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
        if getattr(found.used, use, None) == column.name
    ]
    return column.name, kind_shown, ", ".join(uses)


def _size(number: int | None) -> str:
    return "?" if number is None else size(number)
