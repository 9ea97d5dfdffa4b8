"""The form's inputs by name, each with the place below it where its problems stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import gradio as gr

from memshield.errors import UserError
from memshield.ui.widgets.problems import each, problem_view, summary_view

EMPTIED = "() => ''"

RAW: dict[str, Any] = {"api_visibility": "private", "preprocess": False}
"""For handlers, which are given what a browser or a script sent, as it was sent: gradio's inputs
answer what is out of bounds, no choice or of an odd type with a bare "Error", or fail on it."""
QUIET: dict[str, Any] = {**RAW, "show_progress": "hidden"}
"""The same for what is done at once."""


class Fields:
    """Inputs and the places of their problems.

    Attributes:
        labels: how the page calls a field, by its name.
        inputs: by name.
        slots: where problems stand, by name; the id on the page is problem-<name>.
    """

    def __init__(self) -> None:
        self.labels: dict[str, str] = {}
        self.inputs: dict[str, Any] = {}
        self.slots: dict[str, gr.HTML] = {}

    @contextmanager
    def place(self, name: str, label: str, **look: Any) -> Iterator[None]:
        """Lay a field out: what is made inside, and its problems below it.

        Args:
            name, label: of the field.
            look: of the column that it stands in.
        """
        look = {"min_width": 140, **look}
        with gr.Column(elem_id=f"field-{name}", elem_classes=["ms-field"], **look):
            yield
            self.slots[name] = gr.HTML("", elem_id=f"problem-{name}", elem_classes=["ms-slot"])
        self.labels[name] = label

    def add(self, name: str, label: str, make: Callable[[], Any], **look: Any) -> Any:
        """An input of its own place; its problems go when it is changed."""
        with self.place(name, label, **look):
            made = make()
        self.keep(name, made)
        return made

    def keep(self, name: str, made: Any) -> None:
        """Name an input that was made inside `place`."""
        self.inputs[name] = made
        made.input(None, None, self.slots[name], js=EMPTIED, **RAW)

    def values(self, given: Mapping[Any, Any]) -> dict[str, Any]:
        """What stands in the inputs, by name.

        Args:
            given: by input, as a handler gets it.
        """
        return {name: given[one] for name, one in self.inputs.items()}

    def shown(self, errors: Sequence[UserError]) -> list[str]:
        """What stands in every place, in the order of `slots`."""
        return [problem_view(errors, name) for name in self.slots]

    def summary(self, errors: Sequence[UserError]) -> str:
        """All problems in a line, with those in full that belong to no field."""
        found = each(errors)
        wrong = {one.field for one in found}
        names = [name for name in self.slots if name in wrong]
        others = [one for one in found if one.field not in self.slots]
        return summary_view([(name, self.labels[name]) for name in names], others)
