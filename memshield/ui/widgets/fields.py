"""The form's inputs by name, each with a slot below it for its problems."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import gradio as gr

from memshield.errors import UserError
from memshield.ui.widgets.problems import each, problem_view, summary_view

RAW: dict[str, Any] = {"api_visibility": "private", "preprocess": False}
"""For handlers that get values as a browser or a script sent them: gradio's own checks answer a
value of the wrong type, out of bounds or not offered with a bare "Error", or fail on it."""
QUIET: dict[str, Any] = {**RAW, "show_progress": "hidden"}
"""The same for quick handlers."""
AGAIN: dict[str, Any] = {"trigger_mode": "always_last"}
"""For buttons that show something: one that is pressed again meanwhile shows it anew."""


def _shown(check: Callable[[Any], UserError | None], value: Any) -> str:
    problem = check(value)
    return "" if problem is None else problem_view(problem)


# The value is another one: its problem disappears.
_CHANGED = """
(value) => {
  const form = ((window.memshieldForms ??= {})[%s] ??= {});
  form[%s] = value ?? null;
  const all = JSON.stringify(form);
  return ["", all, all];
}
"""
# What is typed is noted a moment later, when gradio tells of the change.
_NOTED = """
async (...given) => {
  await new Promise((done) => setTimeout(done, 50));
  given[%d] = JSON.stringify(window.memshieldForms?.[%s] ?? {});
  return given.slice(0, %d);
}
"""
_ON_LEAVING = """
document.addEventListener("focusout", (event) => {
  const input = event.target.closest(".ms-field :is(input, textarea)");
  if (input && !["checkbox", "radio", "range"].includes(input.type)) trigger("leave");
});
"""
_LONGEST = 2**20


class Fields:
    """Inputs, the slots of their problems, and what is in all of them, as one value.

    Whenever any handler begins or ends, gradio's front end searches the page for every input that
    a handler ever had, and a form has a hundred. So handlers have one, in which the browser notes
    the values as they change.

    Args:
        form: its name, of the page's forms.

    Attributes:
        labels: by the field's name.
        inputs: by name.
        slots: for problems, by name; their ids on the page are problem-<name>.
        sent: input for handlers, which holds all values; see `values`.
        settled: the same as of the time when an input was last left.
    """

    def __init__(self, form: str) -> None:
        self._form = json.dumps(form)
        self.labels: dict[str, str] = {}
        self.inputs: dict[str, Any] = {}
        self.slots: dict[str, gr.HTML] = {}
        self.sent = gr.Textbox("{}", visible="hidden")
        self.settled = gr.Textbox("{}", visible="hidden")
        leaving = gr.HTML(visible="hidden", js_on_load=_ON_LEAVING)
        leaving.leave(None, None, self.settled, js=self._noted(0, 1), **RAW)

    def _noted(self, place: int, count: int) -> str:
        """JavaScript that puts the values in this place of so many."""
        return _NOTED % (place, self._form, count)

    def read_by(self, inputs: set[Any]) -> dict[str, Any]:
        """What a button's handler reads: the values as they are when it is pressed.

        Args:
            inputs: `sent` among them.

        Returns:
            `inputs`, and `js` that waits until what was typed last is noted.
        """
        ordered = sorted(inputs, key=lambda one: one._id)  # as gradio sends a set
        return {"inputs": inputs, "js": self._noted(ordered.index(self.sent), len(ordered))}

    @contextmanager
    def place(self, name: str, label: str, **look: Any) -> Iterator[None]:
        """Lay out a field: what is made inside the block, and its slot below.

        Args:
            name, label: of the field.
            look: of its column.
        """
        look = {"min_width": 140, **look}
        with gr.Column(elem_id=f"field-{name}", elem_classes=["ms-field"], **look):
            yield
            self.slots[name] = gr.HTML("", elem_id=f"problem-{name}", elem_classes=["ms-slot"])
        self.labels[name] = label

    def add(
        self,
        name: str,
        label: str,
        make: Callable[[], Any],
        check: Callable[[Any], UserError | None] | None = None,
        **look: Any,
    ) -> Any:
        """Add an input, whose problems disappear when it is changed.

        Args:
            name, label: of the field.
            make: the input.
            check: of a value; what it finds is shown as soon as the input is left.
            look: of its column.
        """
        with self.place(name, label, **look):
            made = make()
        self.keep(name, made)
        if check is not None:
            made.blur(partial(_shown, check), made, self.slots[name], queue=False, **QUIET)
        return made

    def keep(self, name: str, made: Any) -> None:
        """Register an input that was made inside `place`."""
        self.inputs[name] = made
        # One handler each: as the page opens, gradio's front end goes through all for every input.
        outputs = [self.slots[name], self.sent]
        if not isinstance(made, (gr.Textbox, gr.Number)):
            outputs.append(self.settled)
        changed = _CHANGED % (self._form, json.dumps(name))
        made.change(None, made, outputs, js=changed, **RAW)

    def values(self, sent: object) -> dict[str, Any]:
        """Return the values of the inputs, by name, of any type.

        Args:
            sent: value of `sent` as the browser gave it. An input that it lacks never changed.

        Raises:
            UserError: it is no such value.
        """
        given = None
        if isinstance(sent, str) and len(sent) <= _LONGEST:
            with suppress(ValueError, RecursionError):
                given = json.loads(sent)
        if not isinstance(given, dict):
            raise UserError("form", "the form cannot be read", "Load the page anew.")
        return {name: given.get(name, one.value) for name, one in self.inputs.items()}

    def shown(self, errors: Sequence[UserError]) -> list[str]:
        """Return the contents of every slot, in the order of `slots`."""
        return [problem_view(errors, name) for name in self.slots]

    def summary(self, errors: Sequence[UserError]) -> str:
        """Name the fields with problems in a line, and show problems of no field in full."""
        found = each(errors)
        wrong = {one.field for one in found}
        names = [name for name in self.slots if name in wrong]
        others = [one for one in found if one.field not in self.slots]
        return summary_view([(name, self.labels[name]) for name in names], others)
