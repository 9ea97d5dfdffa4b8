"""From the inputs of the form to a plan: what it would do, what is wrong, and the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from memshield.config import Config, make_config
from memshield.errors import UserError
from memshield.hub.catalog.dataset import describe_dataset
from memshield.hub.catalog.described import DatasetDescription
from memshield.hub.catalog.model import ModelDescription, describe_model
from memshield.network import Token
from memshield.ui.setup.choices import Choices, to_config, to_yaml
from memshield.ui.setup.cost import OWN_MODELS, ModelSize
from memshield.ui.setup.estimate import estimate
from memshield.ui.setup.flavours import hardware_of
from memshield.ui.setup.hardware import Machine
from memshield.ui.setup.numbers import numbers
from memshield.ui.setup.problems import problems_of

FoundT = TypeVar("FoundT")


@dataclass(frozen=True)
class Plan:
    """What a form would do.

    Attributes:
        values: settings, for a job; {} where they are not valid.
        yaml: the same as a file to copy.
        lines: numbers and an estimate, in words.
        errors: what has to be mended first.
        needs_token: whether model or pictures can only be read by who is signed in.
    """

    values: Mapping[str, Any]
    yaml: str
    lines: tuple[str, ...]
    errors: tuple[UserError, ...]
    needs_token: bool


def plan(choices: Choices, machine: Machine, token: Token, rows: int | None = None) -> Plan:
    """Work out what a form would do; the Hub is asked about model and dataset.

    Args:
        choices: the form.
        machine: that would train.
        token: of the visitor.
        rows: pictures of an upload, where there is one.
    """
    errors = problems_of(choices, token=token, rows=rows, machine=machine)
    wrong = {error.field for error in errors}
    model = dataset = None
    if choices.model and not wrong & {"model", "recipe", "sign_in"}:
        model = _looked_up(lambda: describe_model(choices.model or "", token=token))
    if choices.dataset and not wrong & {"dataset", "recipe", "sign_in"}:
        dataset = _looked_up(
            lambda: describe_dataset(choices.dataset or "", choices.dataset_config, token=token)
        )
    rows = rows if rows is not None else _rows(choices, dataset)
    values = to_config(choices, rows, machine, model.resolution if model else None)
    config = _checked(values)
    lines: list[str] = []
    if config is not None and rows is not None:
        counted = numbers(config, rows)
        lines += counted.lines()
        size, hardware = _size(values, model), hardware_of(machine)
        if size is not None and hardware is not None:
            lines += estimate(config, counted, size, hardware).lines()
    elif config is not None:
        lines.append("How many pictures there are is not known before they are fetched.")
    private = any(one is not None and (one.private or one.gated) for one in (model, dataset))
    yaml = to_yaml(choices, values) if config is not None else ""
    return Plan(values if config else {}, yaml, tuple(lines), tuple(errors), private)


def _looked_up(ask: Callable[[], FoundT]) -> FoundT | None:
    """What the Hub says; what is wrong is among the problems already."""
    try:
        return ask()
    except UserError:
        return None


def _rows(choices: Choices, dataset: DatasetDescription | None) -> int | None:
    if choices.recipe == "demo":
        return choices.starting_point.rows
    if dataset is None:
        return None
    wanted = choices.split or "train"
    return next((split.rows for split in dataset.splits if split.name == wanted), None)


def _checked(values: Mapping[str, Any]) -> Config | None:
    try:
        return make_config(dict(values))
    except UserError:
        return None  # among the problems already


def _size(values: Mapping[str, Any], model: ModelDescription | None) -> ModelSize | None:
    if model is not None:
        if model.parameters is None or model.resolution is None:
            return None
        return ModelSize(model.family, model.parameters, model.resolution)
    return OWN_MODELS.get(str(values.get("model_config_name_or_path")))
