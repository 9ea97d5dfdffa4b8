"""What will happen: the buttons that look at the form, measure and start, and what they tell."""

from __future__ import annotations

from typing import Any

import gradio as gr

from memshield.errors import UserError, UserErrors
from memshield.ui.form.planning import Plan
from memshield.ui.new import measuring
from memshield.ui.new.forecast_view import forecast_view
from memshield.ui.new.submission import Checked, check, submit
from memshield.ui.server.server import Server
from memshield.ui.widgets.fields import RAW, Fields
from memshield.ui.widgets.problems import problem_view, status_view

NO_FILE = "# It stands here once the form has been looked at and can be read."
_TICK = 1.0


class Outcome:
    """The last part of the tab.

    Args:
        server: see there.
        page: whose loading finds what is being measured.
        fields: of the form.
        recipe: that follows from what is trained.
        upload: name of the visitor's.
        more: where the advanced settings are folded away.
        advanced: their names.
        started: takes the id of the job that was started last.
    """

    def __init__(
        self,
        server: Server,
        page: gr.Blocks,
        fields: Fields,
        recipe: gr.State,
        upload: gr.State,
        more: gr.Accordion,
        advanced: list[str],
        started: gr.State,
    ) -> None:
        self._server = server
        self._fields = fields
        self._states = [recipe, upload]
        self._advanced = set(advanced)
        self._made, self._under = gr.State(None), gr.State(None)
        gr.Markdown("## What will happen")
        with gr.Row():
            look = gr.Button("See what will happen")
            measure = gr.Button("Measure on this machine")
            stop = gr.Button("Stop measuring", visible=False)
            start = gr.Button("Start training", variant="primary")
        summary = gr.HTML(elem_id="problems", elem_classes=["ms-slot"])
        state = gr.HTML(elem_id="measuring", elem_classes=["ms-slot"])
        numbers = gr.HTML(elem_id="plan", elem_classes=["ms-slot"])
        with gr.Accordion("The settings as a file, to run anywhere", open=False):
            # No language: gradio's colours for it cannot be read on white.
            yaml = gr.Code(NO_FILE, language=None, label="config.yaml", interactive=False)
            gr.Markdown("`accelerate launch -m memshield.train --config config.yaml`")
        timer = gr.Timer(_TICK, active=False)
        shown = [summary, numbers, yaml, self._made, recipe, more, fields.inputs["confirm"],
                 *fields.slots.values()]  # fmt: skip
        inputs = {*self._states, *fields.inputs.values()}
        buttons = [measure, stop]
        asks: dict[str, Any] = {**RAW, "show_progress_on": numbers}
        look.click(self._look, inputs, shown, **asks)
        start.click(self._start, inputs, [*shown, started], **asks)
        measure.click(self._measure, inputs, [*shown, state, self._under, timer, *buttons], **asks)
        # Without any sign of it on the page: it is asked every second.
        timer.tick(
            self._tick, [self._made, self._under], [state, numbers, timer, *buttons],
            show_progress="hidden", **RAW,
        )  # fmt: skip
        stop.click(self._stop, None, state, **asks)
        page.load(
            self._load, None, [state, timer, *buttons], show_progress="hidden",
            api_visibility="private",
        )  # fmt: skip

    def _check(self, given: dict[Any, Any], token: gr.OAuthToken | None) -> Checked | UserError:
        values = self._fields.values(given)
        recipe, upload = (given[one] for one in self._states)
        try:
            return check(self._server, values, recipe, upload, token)
        except UserError as error:
            return error

    def _look(self, given: dict[Any, Any], token: gr.OAuthToken | None) -> list[Any]:
        return self._told(self._check(given, token))

    def _told(self, found: Checked | UserError, *more: UserError) -> list[Any]:
        """What all outputs of a check show."""
        if isinstance(found, UserError):
            nothing = ["", NO_FILE, None, *[gr.skip()] * 3]
            return [self._fields.summary([found]), *nothing, *self._fields.shown([])]
        errors = [*found.errors, *UserErrors(list(more)).errors]
        made = found.plan
        wrong = {error.field for error in errors}
        return [
            self._fields.summary(errors),
            forecast_view(made) if made is not None else "",
            (made.yaml if made is not None else "") or NO_FILE,
            made,
            found.recipe,
            gr.Accordion(open=True) if wrong & self._advanced else gr.skip(),
            gr.CheckboxGroup(visible=True) if "confirm" in wrong else gr.skip(),
            *self._fields.shown(errors),
        ]

    def _start(self, given: dict[Any, Any], token: gr.OAuthToken | None) -> list[Any]:
        found = self._check(given, token)
        if isinstance(found, UserError) or found.errors:
            return [*self._told(found), gr.skip()]
        try:
            return [*self._told(found), submit(self._server, found, token)]
        except UserError as error:
            return [*self._told(found, error), gr.skip()]

    def _measure(self, given: dict[Any, Any], token: gr.OAuthToken | None) -> list[Any]:
        found = self._check(given, token)
        nothing = ["", *[gr.skip()] * 4]
        if isinstance(found, UserError) or found.errors or found.plan is None:
            return [*self._told(found), *nothing]
        try:
            measuring.begin(self._server, found.plan, token)
        except UserError as error:
            # One of before may be under way: it can be stopped here.
            return [*self._told(found, error), *nothing[:-1], gr.Button(visible=True)]
        told = [status_view("Measuring: waiting"), found.plan, gr.Timer(active=True)]
        return [*self._told(found), *told, *_buttons(True)]

    def _tick(
        self, made: Plan | None, under: Plan | None, token: gr.OAuthToken | None
    ) -> list[Any]:
        try:
            found = measuring.look(self._server, under, made, token)
        except UserError as error:
            return [problem_view(error, error.field), gr.skip(), gr.Timer(active=False),
                    *_buttons(False)]  # fmt: skip
        if found.busy:
            return [found.said, *[gr.skip()] * 4]
        numbers = forecast_view(found.plan) if found.plan is not None else gr.skip()
        return [found.said, numbers, gr.Timer(active=False), *_buttons(False)]

    def _load(self, token: gr.OAuthToken | None) -> list[Any]:
        """A page that is opened anew goes on showing what is being measured."""
        try:
            found = measuring.look(self._server, None, None, token)
        except UserError:  # signed out
            return [gr.skip()] * 4
        if not found.busy:
            return [gr.skip()] * 4
        return [found.said, gr.Timer(active=True), *_buttons(True)]

    def _stop(self, token: gr.OAuthToken | None) -> str:
        try:
            measuring.stop(self._server, token)
        except UserError as error:
            return status_view(error.problem)
        return status_view("Measuring: stopping")


def _buttons(measuring: bool) -> list[Any]:
    """The buttons that begin and stop measuring: one of the two."""
    return [gr.Button(visible=not measuring), gr.Button(visible=measuring)]
