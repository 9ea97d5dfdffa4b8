"""Reads the values of the form's inputs, which a browser or a script may send in any type."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from memshield.errors import UserError, UserErrors, collect_errors
from memshield.hub.consent import NAMES
from memshield.ui.form.advanced import advanced_fields, parse_advanced
from memshield.ui.form.choices import Choices, input_of
from memshield.ui.form.recipes import RecipeName, recipes

Kind = Literal["demo", "hub", "scratch"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Where = Literal["hub", "upload", "folder"]
WHERE: tuple[Where, ...] = get_args(Where)

_OF_PICTURES = (
    "dataset", "dataset_config", "split", "image_column", "caption_column", "label_column",
    "folder",
)  # fmt: skip
_LONGEST = 500


@dataclass(frozen=True)
class FilledForm:
    """A form as it was filled in.

    Attributes:
        kind: of training.
        where: the pictures come from.
        choices: the readable inputs.
        errors: about the others; fields are the form's.
    """

    kind: Kind
    where: Where
    choices: Choices
    errors: tuple[UserError, ...]

    def beside_inputs(self, errors: Sequence[UserError]) -> list[UserError]:
        """List the form's errors, then a plan's, each under the input that can mend it."""
        found = list(self.errors)
        said = {error.field for error in found}
        for error in UserErrors(list(errors)).errors:
            moved = self._moved(error)
            if moved.field not in said:
                found.append(moved)
        return found

    def _moved(self, error: UserError) -> UserError:
        field = input_of(error.field, self.choices)
        if field in _OF_PICTURES and self.where != "hub" and self.kind != "demo":
            return error.moved(self.where)
        if field == "recipe" and self.kind == "scratch":
            remedy = "Choose a model without prompts, or choose above to fine-tune this one."
            return UserError("model", error.problem, remedy)
        if field == "recipe":
            return error.moved("model")
        return error.moved(field)


def read_form(
    values: Mapping[str, Any], recipe: RecipeName, folder: Path | None, at_home: bool
) -> FilledForm:
    """Read a form.

    Args:
        values: by input.
        recipe: that the kind of training and the model lead to.
        folder: with uploaded or local pictures; None for no folder.
        at_home: whether the visitor may name folders of this machine.
    """
    reading = _FormReader(values)
    kind: Kind = reading.one_of("kind", KINDS, "demo")
    where: Where = reading.one_of("where", WHERE if at_home else WHERE[:2], "hub")
    own = kind != "demo" and where != "hub"
    choices = Choices(
        recipe=recipe,
        model=reading.text("model") if kind != "demo" else None,
        epochs=reading.number("epochs"),
        rounds=reading.number("rounds"),
        shards=reading.number("shards"),
        strength=reading.number("strength"),
        budget=reading.number("budget", optional=True),
        never_stop=values.get("budget") in (None, ""),
        resolution=reading.number("resolution", optional=True),
        hub_model_id=reading.text("hub_model_id"),
        confirm=reading.names("confirm", NAMES),
        advanced=reading.advanced(recipe),
    )
    if kind != "demo" and where == "hub":
        choices = replace(
            choices,
            dataset=reading.text("dataset"),
            dataset_config=reading.text("dataset_config"),
            split=reading.text("split"),
            image_column=reading.text("image_column"),
            caption_column=reading.text("caption_column"),
            label_column=reading.text("label_column"),
        )
    elif own and folder is not None:
        choices = replace(choices, folder=folder, uploaded=where == "upload")
    elif own and where == "upload":
        reading.wrong("upload", "there are no pictures yet", "Upload some, or choose a dataset.")
    elif own:
        reading.wrong("folder", "is empty", "Type the path of a folder.")
    return FilledForm(kind, where, choices, tuple(reading.errors))


class _FormReader:
    """Reads values of any type, and collects their errors."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self.errors: list[UserError] = []

    def wrong(self, field: str, problem: str, remedy: str) -> None:
        self.errors.append(UserError(field, problem, remedy))

    def one_of(self, name: str, options: Sequence[Any], default: Any) -> Any:
        value = self._values.get(name)
        if value is None:
            return default
        if isinstance(value, str) and value in options:
            return value
        self.wrong(name, f"cannot be {_shown(value)}", f"Choose one of: {', '.join(options)}.")
        return default

    def text(self, name: str) -> str | None:
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, str) or len(value) > _LONGEST:
            self.wrong(name, f"is not a short text: {_shown(value)}", "Type it again.")
            return None
        return value.strip() or None

    def number(self, name: str, optional: bool = False) -> Any:
        value = self._values.get(name)
        if value is None or value == "":
            if not optional:
                self.wrong(name, "is empty", "Give a number.")
            return None
        if isinstance(value, str):
            value = _from_text(value)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        # abs first: isfinite overflows for a whole number larger than any float.
        if not is_number or not abs(value) <= 1e15 or not math.isfinite(value):
            self.wrong(name, f"is not a number: {_shown(value)}", "Give a number.")
            return None
        return int(value) if value == int(value) and name not in ("strength", "budget") else value

    def names(self, name: str, options: Sequence[str]) -> tuple[str, ...]:
        value = self._values.get(name) or []
        if isinstance(value, list) and all(
            isinstance(one, str) and one in options for one in value
        ):
            return tuple(value)
        self.wrong(name, f"cannot be {_shown(value)}", f"Choose from: {', '.join(options)}.")
        return ()

    def advanced(self, recipe: RecipeName) -> dict[str, Any]:
        chosen = recipes()[recipe]
        given = {
            field.name: value
            for field in advanced_fields(chosen)
            if (value := self._values.get(field.name)) not in ("", None)
        }
        errors: list[UserError] = []
        with collect_errors(errors):
            return parse_advanced(given, chosen)
        self.errors += errors
        # The plan covers the valid settings all the same.
        wrong = {error.field for error in errors}
        kept = {name: value for name, value in given.items() if name not in wrong}
        return parse_advanced(kept, chosen)


def _from_text(text: str) -> Any:
    """Return the number in a text, or the text itself."""
    try:
        return float(text) if len(text) < 40 else text
    except ValueError:
        return text


def _shown(value: Any) -> str:
    return repr(value)[:80]
