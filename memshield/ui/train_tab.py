"""A new training: choose a model and pictures, set it up, see what will happen, start."""

from __future__ import annotations

from typing import Any

import gradio as gr

from memshield.errors import UserError, UserErrors
from memshield.ui.planning import Plan
from memshield.ui.server import Server
from memshield.ui.setup.recipes import RecipeName, recipes
from memshield.ui.train import measuring
from memshield.ui.train.choose_dataset import choose_dataset
from memshield.ui.train.choose_model import choose_model
from memshield.ui.train.fields import RAW, Fields
from memshield.ui.train.form import WHERE
from memshield.ui.train.kinds import BASIC, TITLES, about, moved, strength_info
from memshield.ui.train.outcome import Checked, check, submit
from memshield.ui.train.own_pictures import name_folder, upload_pictures
from memshield.ui.train.search_box import AT_ONCE, SEARCH
from memshield.ui.train.settings import advanced_settings, basic_settings
from memshield.ui.views.forecast import forecast_view
from memshield.ui.views.problems import problem_view, status_view
from memshield.ui.views.strength import strength_view

PLACES = {
    "hub": "A dataset on the Hub",
    "upload": "Pictures that you upload",
    "folder": "A folder on this computer",
}
NO_FILE = "# It stands here once the form has been looked at and can be read."
_TICK = 1.0


def train_tab(server: Server) -> gr.State:
    """Lay the tab out.

    Returns:
        The id of the job that was started last by this visitor.
    """
    started = gr.State("")
    recipe, settled = gr.State("demo"), gr.State("demo")
    fields = Fields()
    gr.Markdown("## What to train")
    kind = fields.add("kind", "What to train", lambda: gr.Radio(
        [(title, name) for name, title in TITLES.items()], value="demo",
        label="What to train", show_label=False))  # fmt: skip
    recipe_about = gr.Markdown(about("demo", "demo", False), elem_id="about-kind")
    with gr.Column(visible=False) as choosing:
        model = choose_model(server, fields, kind, recipe)
        gr.Markdown("## Pictures")
        open_places = [one for one in WHERE if one != "folder" or not server.place.on_space]
        where = fields.add("where", "Pictures", lambda: gr.Radio(
            [(PLACES[one], one) for one in open_places], value="hub", label="Pictures",
            show_label=False))  # fmt: skip
        columns = {}
        with gr.Column() as columns["hub"]:
            choose_dataset(server, fields)
        own = gr.Column(visible=False)
        folder = gr.Column(visible=False)
    gr.Markdown("## Settings")
    basic = basic_settings(fields, "demo")
    with gr.Accordion("All other settings", open=False) as more:
        advanced = advanced_settings(fields, "demo")
    with own:
        upload = upload_pictures(server, fields, fields.inputs["duplicates"])
    if not server.place.on_space:
        with folder:
            name_folder(server, fields, fields.inputs["duplicates"])
    columns |= {"upload": own, "folder": folder}

    kind.change(
        lambda one: (gr.Column(visible=one != "demo"), gr.Textbox(placeholder=_asks_for(one))),
        kind, [choosing, model.text], **RAW,
    )  # fmt: skip
    where.change(
        lambda one: [gr.Column(visible=one == name) for name in columns], where,
        list(columns.values()), **RAW,
    )  # fmt: skip

    def on_recipe(after: RecipeName, before: RecipeName, *values: Any) -> list[Any]:
        new = moved(values, before, after)
        slider = gr.Slider(value=new[0], info=strength_info(after))
        return [after, slider, *new[1:], strength_view(recipes()[after].strength)]

    # On this alone: a second call would take the inputs as they were before the first.
    recipe.change(
        on_recipe, [recipe, settled, *basic[: len(BASIC)]], [settled, *basic],
        **RAW,
    )  # fmt: skip
    gr.on(
        [recipe.change, kind.change, model.seen.change],
        lambda kind, recipe, seen: about(kind, recipe, bool(seen)),
        [kind, recipe, model.seen], recipe_about, **RAW,
    )  # fmt: skip
    _Outcome(server, fields, recipe, upload, more, advanced, started)
    return started


def _asks_for(kind: object) -> str:
    if kind == "scratch":
        return "optional: a model whose layout is taken, and not its weights"
    return SEARCH


class _Outcome:
    """The last part of the tab: the buttons, and what they tell."""

    def __init__(
        self,
        server: Server,
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
        self._made = gr.State(None)
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
        asks: dict[str, Any] = {**RAW, "concurrency_limit": AT_ONCE, "show_progress_on": numbers}
        look.click(self._look, inputs, shown, **asks)
        start.click(self._start, inputs, [*shown, started], **asks)
        measure.click(self._measure, inputs, [*shown, state, timer, *buttons], **asks)
        # Without any sign of it on the page: it is asked every second.
        timer.tick(
            self._tick, self._made, [state, numbers, timer, *buttons], show_progress="hidden",
            **RAW, concurrency_limit=AT_ONCE,
        )  # fmt: skip
        stop.click(self._stop, None, state, **asks)

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
        nothing = ["", gr.skip(), gr.skip(), gr.skip()]
        if isinstance(found, UserError) or found.errors or found.plan is None:
            return [*self._told(found), *nothing]
        try:
            measuring.begin(self._server, found.plan, token)
        except UserError as error:
            # One of before may be under way: it can be stopped here.
            return [*self._told(found, error), *nothing[:3], gr.Button(visible=True)]
        told = [status_view("Measuring: waiting"), gr.Timer(active=True), *_buttons(True)]
        return [*self._told(found), *told]

    def _tick(self, made: Plan | None, token: gr.OAuthToken | None) -> list[Any]:
        try:
            found = measuring.look(self._server, made, token)
        except UserError as error:
            return [problem_view(error, error.field), gr.skip(), gr.Timer(active=False),
                    *_buttons(False)]  # fmt: skip
        if found.busy:
            return [found.said, *[gr.skip()] * 4]
        numbers = forecast_view(found.plan) if found.plan is not None else gr.skip()
        return [found.said, numbers, gr.Timer(active=False), *_buttons(False)]

    def _stop(self, token: gr.OAuthToken | None) -> str:
        try:
            measuring.stop(self._server, token)
        except UserError as error:
            return status_view(error.problem)
        return status_view("Measuring: stopping")


def _buttons(measuring: bool) -> list[Any]:
    """The buttons that begin and stop measuring: one of the two."""
    return [gr.Button(visible=not measuring), gr.Button(visible=measuring)]
