"""What children do: `python -m tests.hub.catalog.calls` reads calls as JSON, answers each."""

from __future__ import annotations

import dataclasses
import gc
import json
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from huggingface_hub import HfFileSystem, snapshot_download
from PIL import Image

from memshield.config.file import make_config
from memshield.data.columns import Columns
from memshield.data.images import open_image, to_mode
from memshield.data.source import SourceSettings, open_source
from memshield.errors import UserError
from memshield.families import read_facts
from memshield.hub.catalog.dataset import describe_dataset
from memshield.hub.catalog.model import describe_model
from memshield.hub.catalog.preview import preview
from memshield.hub.catalog.search import search_datasets, search_models
from memshield.network import Token


def open_for_training(dataset: str, model: str, token: Token) -> Columns:
    """What a training looks up before anything else; None for the host's own token."""
    config = make_config({"pretrained_model_name_or_path": model, "dataset_name": dataset})
    read_facts(config, token=token)
    return open_source(SourceSettings.of(config), token).columns


@dataclasses.dataclass(frozen=True)
class Rows:
    """What a training reads."""

    revision: str | None
    columns: Columns
    captions: list[str] | None
    labels: list[int] | None
    pictures: list[Image.Image]


def read_for_training(dataset: str, token: Token, revision: str | None = None) -> Rows:
    """All rows that a training reads."""
    given = {"dataset_name": dataset, "dataset_revision": revision}
    config = make_config({"model_config_name_or_path": "x", **given})
    source = open_source(SourceSettings.of(config), token)
    pictures = [to_mode(open_image(one), "RGB") for one in source.pictures([*range(len(source))])]
    return Rows(source.revision, source.columns, source.captions(), source.labels(), pictures)


@dataclasses.dataclass(frozen=True)
class Downloaded:
    """What lies in the cache."""

    revision: str


def download(dataset: str, token: Token) -> Downloaded:
    """Fetch all files of a dataset into the cache."""
    return Downloaded(Path(snapshot_download(dataset, repo_type="dataset", token=token)).name)


@dataclasses.dataclass(frozen=True)
class Kept:
    """How often a token is held by what reads the Hub's files."""

    times: int


def kept(token: Token) -> Kept:
    """What is left of a token once everything else was answered."""
    gc.collect()
    systems = [one for one in gc.get_objects() if isinstance(one, HfFileSystem)]
    return Kept(sum(one.token == token for one in systems))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        describe_dataset, describe_model, download, kept, open_for_training, preview,
        read_for_training, search_datasets, search_models,
    )
}  # fmt: skip


def answer(
    functions: dict[str, Callable[..., Any]], name: str, arguments: dict[str, Any]
) -> dict[str, Any]:
    try:
        found = functions[name](**{"token": False, **arguments})
    except UserError as error:
        return {"error": {key: getattr(error, key) for key in ("field", "problem", "remedy")}}
    return {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}


def plain(value: Any) -> Any:
    if isinstance(value, Image.Image):
        return {"mode": value.mode, "size": value.size, "corner": value.getpixel((0, 0))}
    if isinstance(value, datetime):
        return value.isoformat()
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def serve(functions: dict[str, Callable[..., Any]]) -> None:
    """Answer what stands on stdin, and say in the end whether torch was loaded."""
    for name, arguments in json.load(sys.stdin):
        print(json.dumps(answer(functions, name, arguments), default=plain))
    print(json.dumps({"torch": "torch" in sys.modules}))


if __name__ == "__main__":
    serve(FUNCTIONS)
