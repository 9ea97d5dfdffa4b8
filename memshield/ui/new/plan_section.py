"""The end of the form: checks it, shows the plan, measures, and starts the training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from memshield.errors import UserError, UserErrors, collect_errors
from memshield.ui.errors import on_error
from memshield.ui.form.planning import Plan
from memshield.ui.new.forecast_view import cost_view, estimate_view, forecast_view
from memshield.ui.new.live_estimate import LiveEstimate
from memshield.ui.new.measurement import read_measurement, start_measurement, stop_measurement
from memshield.ui.new.submission import CheckedForm, check_form, submit_form
from memshield.ui.server.server import Server
from memshield.ui.widgets.fields import AGAIN, QUIET, RAW, Fields
from memshield.ui.widgets.problems import problem_view, status_view

NO_FILE = "# The settings appear here once the form has been checked and can be read."
_TICK = 1.0
_MEASURED_HERE = UserError(
    "place", "measuring takes steps on this machine", "Choose this machine to measure."
)


def _buttons(measuring: bool) -> list[Any]:
    """Updates for the buttons that start and stop measuring: one of them is shown."""
    return [gr.Button(visible=not measuring), gr.Button(visible=measuring)]


class PlanSection:
    """Lays out the section, and answers its buttons.

    Args:
        server: the page's server.
        page: resumes showing a measurement when it is loaded.
        fields: of the form.
        recipe: name of the recipe.
        upload: name of the visitor's upload.
        folds: names of the settings that each of them holds.
        started: takes the id of the job that was started last.
        cost: shows what it costs where it is paid for.
        changed: events of what the estimate follows from, beside the fields' own.
    """

    def __init__(
        self,
        server: Server,
        page: gr.Blocks,
        fields: Fields,
        recipe: gr.State,
        upload: gr.State,
        folds: dict[gr.Accordion, set[str]],
        started: gr.State,
        cost: gr.HTML,
        changed: list[Any],
    ) -> None:
        self._server = server
        self._fields = fields
        self._states = [recipe, upload]
        self._folds = folds
        self._live = LiveEstimate(server)
        self._plan, self._measured = gr.State(None), gr.State(None)
        with gr.Row():
            look = gr.Button("See what will happen")
            measure = gr.Button("Measure on this machine")
            stop = gr.Button("Stop measuring", visible=False)
        state = gr.HTML(elem_id="measuring", elem_classes=["ms-slot"])
        numbers = gr.HTML(elem_id="plan", elem_classes=["ms-slot"])
        with gr.Accordion("The settings as a file, to run anywhere", open=False):
            # No language: gradio's colours for it cannot be read on white.
            yaml = gr.Code(NO_FILE, language=None, label="config.yaml", interactive=False)
            gr.Markdown("`accelerate launch -m memshield.train --config config.yaml`")
        # The last part of the form: it stays at the bottom of the window while the form is in view,
        # and so does what is to be mended before the start.
        with gr.Column(elem_id="start-bar"):
            summary = gr.HTML(elem_id="problems", elem_classes=["ms-slot"])
            with gr.Row(equal_height=True):
                self._beside = gr.HTML(estimate_view(None), elem_id="estimate")
                start = gr.Button("Start training", variant="primary", scale=0, min_width=160)
        timer = gr.Timer(_TICK, active=False)
        shown = [summary, numbers, yaml, self._plan, recipe, self._beside, cost, *folds,
                 fields.inputs["confirm"], *fields.slots.values()]  # fmt: skip
        inputs: set[Any] = {*self._states, fields.sent}
        buttons = [measure, stop]
        asks: dict[str, Any] = {**RAW, "show_progress_on": numbers}
        pressed = {**asks, **fields.read_by({*inputs, self._plan})}
        look.click(self._look, outputs=shown, **pressed, **AGAIN)
        start.click(self._start, outputs=[*shown, started], **pressed)
        measure.click(
            self._measure, outputs=[*shown, state, self._measured, timer, *buttons], **pressed
        )
        # Hidden progress: it ticks every second.
        timer.tick(
            self._tick, [self._plan, self._measured],
            [state, numbers, self._beside, timer, *buttons, self._plan],
            show_progress="hidden", **RAW,
        )  # fmt: skip
        gr.on(
            [*changed, fields.settled.change], self._estimate,
            {*inputs, self._plan}, [self._beside, cost], **QUIET,
        )  # fmt: skip
        stop.click(self._stop, None, state, **asks)
        page.load(
            self._load, None, [state, timer, *buttons], show_progress="hidden",
            api_visibility="private",
        )  # fmt: skip

    def _check(self, given: dict[Any, Any], token: gr.OAuthToken | None) -> CheckedForm | UserError:
        recipe, upload = (given[one] for one in self._states)
        try:
            values = self._fields.values(given[self._fields.sent])
            checked = check_form(self._server, values, recipe, upload, token)
        except UserError as error:
            return error
        if checked.plan is None or checked.there is not None:
            return checked
        # What was measured holds until the settings change.
        return replace(checked, plan=checked.plan.with_measurement_of(given[self._plan]))

    def _look(self, given: dict[Any, Any], token: gr.OAuthToken | None) -> list[Any]:
        return self._outputs(self._check(given, token))

    @on_error(lambda error: (estimate_view(None), ""))
    def _estimate(self, given: dict[Any, Any], token: gr.OAuthToken | None) -> tuple[str, str]:
        recipe, upload = (given[one] for one in self._states)
        values = self._fields.values(given[self._fields.sent])
        return self._live.view(values, recipe, upload, given[self._plan], token)

    def _outputs(self, checked: CheckedForm | UserError, *more: UserError) -> list[Any]:
        """The outputs that every check sets.

        Args:
            checked: the result of the check.
            more: problems found after it.
        """
        if isinstance(checked, UserError):
            nothing = ["", NO_FILE, None, *[gr.skip()] * (4 + len(self._folds))]
            return [self._fields.summary([checked]), *nothing, *self._fields.shown([])]
        errors = [*checked.errors, *UserErrors(list(more)).errors]
        plan = checked.plan
        wrong = {error.field for error in errors}
        return [
            self._fields.summary(errors),
            forecast_view(plan) if plan is not None else "",
            (plan.yaml if plan is not None else "") or NO_FILE,
            plan,
            checked.recipe,
            estimate_view(plan),
            cost_view(plan, checked.there),
            *(
                gr.Accordion(open=True) if wrong & names else gr.skip()
                for names in self._folds.values()
            ),
            gr.CheckboxGroup(visible=True) if "confirm" in wrong else gr.skip(),
            *self._fields.shown(errors),
        ]

    def _start(self, given: dict[Any, Any], token: gr.OAuthToken | None) -> list[Any]:
        checked = self._check(given, token)
        if isinstance(checked, UserError) or checked.errors:
            return [*self._outputs(checked), gr.skip()]
        errors: list[UserError] = []
        job: Any = gr.skip()
        with collect_errors(errors):
            job = submit_form(self._server, checked, token)
        return [*self._outputs(checked, *errors), job]

    def _measure(self, given: dict[Any, Any], token: gr.OAuthToken | None) -> list[Any]:
        checked = self._check(given, token)
        unchanged = ["", *[gr.skip()] * 4]
        if isinstance(checked, CheckedForm) and checked.there is not None:
            return [*self._outputs(checked, _MEASURED_HERE), *unchanged]
        if isinstance(checked, UserError) or checked.errors or checked.plan is None:
            return [*self._outputs(checked), *unchanged]
        errors: list[UserError] = []
        with collect_errors(errors):
            start_measurement(self._server, checked.plan, token)
        if errors:
            # If an earlier measurement is still going on, this button stops it.
            return [*self._outputs(checked, *errors), *unchanged[:-1], gr.Button(visible=True)]
        states = [status_view("Measuring: waiting"), checked.plan, gr.Timer(active=True)]
        return [*self._outputs(checked), *states, *_buttons(True)]

    @on_error(
        lambda error: [
            problem_view(error),
            gr.skip(),
            gr.skip(),
            gr.Timer(active=False),
            *_buttons(False),
            gr.skip(),
        ]
    )
    def _tick(
        self, plan: Plan | None, measured: Plan | None, token: gr.OAuthToken | None
    ) -> list[Any]:
        found = read_measurement(self._server, measured, plan, token)
        if found.busy:
            return [found.html, *[gr.skip()] * 6]
        over = [gr.Timer(active=False), *_buttons(False)]
        if found.plan is None:
            return [found.html, gr.skip(), gr.skip(), *over, gr.skip()]
        shown = [forecast_view(found.plan), estimate_view(found.plan)]
        return [found.html, *shown, *over, found.plan]

    @on_error(lambda error: [gr.skip()] * 4)  # signed out
    def _load(self, token: gr.OAuthToken | None) -> list[Any]:
        """Show a measurement that goes on since before the page was opened."""
        found = read_measurement(self._server, None, None, token)
        if not found.busy:
            return [gr.skip()] * 4
        return [found.html, gr.Timer(active=True), *_buttons(True)]

    @on_error(lambda error: status_view(error.problem))
    def _stop(self, token: gr.OAuthToken | None) -> str:
        stop_measurement(self._server, token)
        return status_view("Measuring: stopping")
