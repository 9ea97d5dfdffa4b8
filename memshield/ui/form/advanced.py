"""The advanced section of the form, made from the schema of the settings."""

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
from memshield.errors import UserError, UserErrors
from memshield.ui.form.choices import INPUTS
from memshield.ui.form.recipes import Recipe

Kind = Literal["bool", "int", "float", "choice", "text", "list"]

NOT_OFFERED = frozenset(
    {
        *INPUTS,
        # The job's own business, and paths and trackers of the machine that the page runs on.
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
        group: title of the section that it belongs to.
        description: a sentence.
        kind: of input; a list takes one item a line.
        options: of a choice; () for other kinds.
        default: of the recipe, or else of the schema; None where it is left to the model or the
            dataset.
        optional: whether it may be left empty.
        least, most: bounds of a number, inclusive unless `above` or `below` says so.
        above, below: whether the bound itself is out of bounds.
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
    """The settings that the simple form does not set and a page may offer, in their order.

    Args:
        recipe: whose values stand in the inputs.
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
        # Processes of a machine that others may be training on.
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
    """Turn what stands in inputs into values of settings; what is as the recipe has it is left out.

    Args:
        values: by name of setting; text, or what a checkbox or a number input gives. An empty
            input stands for None where the setting is optional, else for the default.
        recipe: whose values the inputs had.

    Raises:
        UserErrors: every input that is not offered or does not hold what it should.
    """
    offered = {field.name: field for field in advanced_fields(recipe)}
    found: dict[str, Any] = {}
    errors: list[UserError] = []
    for name, value in values.items():
        if not isinstance(name, str) or name not in offered:
            errors.append(UserError(str(name)[:100], "is no advanced setting", "Remove it."))
            continue
        try:
            parsed = _parsed(offered[name], value)
        except UserError as error:
            errors.append(error)
            continue
        empty = parsed is None and not offered[name].optional
        if not empty and parsed != offered[name].default:
            found[name] = parsed
    if errors:
        raise UserErrors(errors)
    return found


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
            raise UserError(field.name, f"is no line of text: {shown}", field.description)
        if field.options and value not in field.options:
            raise UserError(field.name, f"has no {shown}", f"One of: {', '.join(field.options)}.")
        return value
    if isinstance(value, bool) != (field.kind == "bool") and not isinstance(value, str):
        raise UserError(field.name, f"takes no {shown}", field.description)
    try:
        # The rules of the schema, with text read as pydantic reads it.
        parsed = TypeAdapter(_annotated(field.name)).validate_python(value)
    except ValidationError as error:
        words = str(error.errors()[0]["msg"])
        raise UserError(
            field.name, f"{words[0].lower()}{words[1:]}, got {shown}", field.description
        ) from None
    if isinstance(parsed, int) and abs(parsed) > _MOST_WHOLE:
        # Larger than any float can be, with which a forecast reckons.
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
        raise UserError(field.name, "takes one text a line", field.description)
    items = [line.strip() for line in lines if line.strip()]
    if len(items) > _MOST_ITEMS or any(len(item) > _MOST_LETTERS for item in items):
        raise UserError(
            field.name, f"takes {_MOST_ITEMS} lines of {_MOST_LETTERS} letters at most", ""
        )
    return items or None
