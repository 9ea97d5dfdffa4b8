"""What children do: `python -m tests.hub.catalog.calls` reads calls as JSON, answers each."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

from PIL import Image

from memshield.config.file import make_config
from memshield.data.source import Columns, SourceSettings, open_source
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


FUNCTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        describe_dataset, describe_model, open_for_training, preview, search_datasets,
        search_models,
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
