"""The advanced settings of the form, derived from the schema of the config."""

from __future__ import annotations

import os
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import annotated_types
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from memshield.config.file import GROUPS, fields
from memshield.config.rules import words_of_rule
from memshield.errors import UserError, UserErrors, collect_errors
from memshield.ui.form.choices import DERIVED, INPUTS
from memshield.ui.form.recipes import Recipe

Kind = Literal["bool", "int", "float", "choice", "text", "list"]

NOT_OFFERED = frozenset(
    {
        *INPUTS,
        # Set by the job, or paths and trackers of the machine that the page runs on.
        "output_dir",
        "report_to",
        "resume_from_checkpoint",
        "checkpoints_total_limit",
        "shard_optimizer_offload",
    }
)
_MOST_LETTERS = 2000
_MOST_WHOLE = 10**15
_MOST_ITEMS = 64


@dataclass(frozen=True)
class Field:
    """A setting as an input.

    Attributes:
        name: of the setting.
        group: title of its section.
        description: a sentence.
        kind: of input; a list takes an item a line.
        options: of a choice; () for other kinds.
        default: the recipe's, or else the schema's; None if the model or the dataset decides.
        optional: whether it may stay empty.
        least, most: bounds of a number, inclusive unless `above` or `below` is set.
        above, below: whether the bound is exclusive.
    """

    name: str
    group: str
    description: str
    kind: Kind
    options: tuple[str, ...] = ()
    default: Any = None
    optional: bool = False
    least: float | None = None
    most: float | None = None
    above: bool = False
    below: bool = False


def advanced_fields(recipe: Recipe) -> list[Field]:
    """List the settings that the page offers beyond the simple form, in their order.

    Args:
        recipe: gives the defaults.
    """
    return [
        _field(name, str(group.__doc__), fields()[name], recipe)
        for group in GROUPS
        for name in group.model_fields
        if name not in NOT_OFFERED
    ]


def _field(name: str, group: str, info: FieldInfo, recipe: Recipe) -> Field:
    kind, options, optional = _kind(info.annotation)
    bounds: dict[str, Any] = {}
    for rule in info.metadata:
        match rule:
            case annotated_types.Ge(ge=value):
                bounds |= {"least": value}
            case annotated_types.Gt(gt=value):
                bounds |= {"least": value, "above": True}
            case annotated_types.Le(le=value):
                bounds |= {"most": value}
            case annotated_types.Lt(lt=value):
                bounds |= {"most": value, "below": True}
    if name == "dataloader_num_workers":
        # Others may be training on the same machine.
        bounds["most"] = os.cpu_count() or 1
    default = recipe.settings.get(name, info.default)
    return Field(name, group, info.description or "", kind, options, default, optional, **bounds)


def _kind(annotation: Any) -> tuple[Kind, tuple[str, ...], bool]:
    parts = [annotation]
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        parts = list(typing.get_args(annotation))
    (one,) = [part for part in parts if part is not type(None)]
    optional = len(parts) > 1
    if typing.get_origin(one) is Literal:
        return "choice", tuple(map(str, typing.get_args(one))), optional
    if typing.get_origin(one) is list:
        return "list", (), optional
    kinds: dict[Any, Kind] = {bool: "bool", int: "int", float: "float", str: "text"}
    return kinds[one], (), optional


def parse_advanced(values: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """Parse the values of inputs; values equal to the recipe's are left out.

    A setting that `to_config` derives otherwise is kept as it was typed, also where it equals the
    recipe's.

    Args:
        values: by setting; text, or the value of a checkbox or a number input. An empty input
            means None for an optional setting, else the default.
        recipe: gave the defaults.

    Raises:
        UserErrors: every input that is not offered or not valid.
    """
    offered = {field.name: field for field in advanced_fields(recipe)}
    found: dict[str, Any] = {}
    errors: list[UserError] = []
    for name, value in values.items():
        if not isinstance(name, str) or name not in offered:
            errors.append(UserError(str(name)[:100], "is not an advanced setting", "Remove it."))
            continue
        with collect_errors(errors):
            parsed = _parsed(offered[name], value)
            empty = parsed is None and not offered[name].optional
            typed = name in DERIVED and value not in (None, "")
            if not empty and (typed or parsed != offered[name].default):
                found[name] = parsed
    if errors:
        raise UserErrors(errors)
    return found


def field_of_input(name: str, recipe: Recipe) -> Field:
    """The setting behind an input of the simple form.

    Args:
        name: of the input.
        recipe: gives the default.
    """
    setting = next(setting for setting, named in INPUTS.items() if named == name)
    return _field(setting, "", fields()[setting], recipe)


def problem_of(field: Field, value: Any) -> UserError | None:
    """The problem of one input's value, known without any other input; None if there is none.

    Args:
        field: its setting.
        value: text or a number; what is empty is no problem.
    """
    errors: list[UserError] = []
    with collect_errors(errors):
        _parsed(field, value)
    return errors[0] if errors else None


def _parsed(field: Field, value: Any) -> Any:
    if isinstance(value, str):
        value = value.strip()
    if value is None or value == "":
        return None
    shown = repr(value)[:80]
    if field.kind == "list":
        return _items(field, value)
    if field.kind in ("text", "choice"):
        if not isinstance(value, str) or len(value) > _MOST_LETTERS or not value.isprintable():
            raise UserError(field.name, f"is not a line of text: {shown}", field.description)
        if field.options and value not in field.options:
            raise UserError(
                field.name, f"cannot be {shown}", f"Choose one of: {', '.join(field.options)}."
            )
        return value
    if isinstance(value, bool) != (field.kind == "bool") and not isinstance(value, str):
        raise UserError(field.name, f"cannot be {shown}", field.description)
    try:
        # The schema's rules; pydantic reads text as numbers.
        parsed = TypeAdapter(_annotated(field.name)).validate_python(value)
    except ValidationError as error:
        rule = words_of_rule({**error.errors()[0], "input": value})
        raise UserError(field.name, rule, field.description) from None
    if isinstance(parsed, int) and abs(parsed) > _MOST_WHOLE:
        # The forecast computes with floats, which such numbers overflow.
        raise UserError(field.name, f"{shown} is too large", field.description)
    if field.kind in ("int", "float") and field.most is not None and parsed > field.most:
        raise UserError(field.name, f"{shown} is more than {field.most:g}", field.description)
    return parsed


def _annotated(name: str) -> Any:
    info = fields()[name]
    return typing.Annotated[info.annotation, *info.metadata, info.description]


def _items(field: Field, value: Any) -> list[str] | None:
    lines = value.splitlines() if isinstance(value, str) else value
    if not isinstance(lines, (list, tuple)) or not all(isinstance(line, str) for line in lines):
        raise UserError(field.name, "takes one item a line", field.description)
    items = [line.strip() for line in lines if line.strip()]
    if len(items) > _MOST_ITEMS or any(len(item) > _MOST_LETTERS for item in items):
        raise UserError(
            field.name, f"takes at most {_MOST_ITEMS} lines of {_MOST_LETTERS} characters", ""
        )
    return items or None
