"""The tab to use a model: one of the visitor's runs or a published one, told of and drawn with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from memshield.errors import UserError, UserErrors
from memshield.hub.card import loading_code
from memshield.sampling.request import ON_PAGE
from memshield.ui.errors import on_error
from memshield.ui.server.server import Server, warn
from memshield.ui.use.generated_pictures import generated_view, generating_view, nothing_view
from memshield.ui.use.model_view import checks_view, summary_view
from memshield.ui.use.own_runs import (
    find_own_model,
    model_choices,
    own_model_view,
    run_choices,
)
from memshield.ui.use.published_model import (
    find_generation,
    generate,
    published_by,
    read_request,
    verify_model,
)
from memshield.ui.widgets.audit import audit_view
from memshield.ui.widgets.card import card_text_view
from memshield.ui.widgets.fields import AGAIN
from memshield.ui.widgets.problems import empty_view, problems_view, status_view

LABELS = {
    "source": "Model",
    "run": "Run",
    "round": "Model or round",
    "repo_id": "Published model",
    "prompt": "Prompts",
    "num_images": "Pictures",
    "num_inference_steps": "Steps",
    "seed": "Seed",
    "sign in": "Sign in",
    "job": "Run",
}
RUN, HUB = "run", "hub"
_UNLESS_NAMED = "(offered, name, source) => offered && !name ? offered : source"
"""A model may have been named since a source was to be offered."""
_SOURCES = [("One of your runs", RUN), ("A published model", HUB)]
_EMPTY = empty_view("No model yet", "Type the id of a model that was published with MemShield.")
_NO_RUNS = empty_view("No runs with a model yet", "A run can draw as soon as its first round ends.")
_SIGN_IN = status_view("Sign in above to generate pictures, which only you can see.")
_TICK = 1.0
_FREE: dict[str, Any] = {"allow_custom_value": True}
"""A page that outlives the server may send values that the new one has not offered."""
_LOOKED = 9
"""Outputs that tell of a model."""


class Handlers:
    """Answers the tab's buttons and its timer.

    Args:
        server: the page's server.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    def load(self, token: gr.OAuthToken | None) -> list[Any]:
        """Show the visitor's own models, a hint to sign in, and the newest pictures.

        Returns:
            First the source to offer, or "" to leave it as it is; `refresh` does the same.
        """
        owner = self._server.find_owner(token)
        jobs = self._server.jobs
        runs = run_choices(jobs, owner) if owner is not None else []
        own = published_by(jobs, owner) if owner is not None else []
        return [
            RUN if runs else "",
            gr.Dropdown(runs, value=runs[0][1]) if runs else gr.skip(),
            gr.Dropdown(own, value=None, visible=bool(own)),
            gr.HTML(_SIGN_IN, visible=owner is None),
            *self._now(owner, ("", "")),
        ]

    def refresh(
        self, chosen: object, name: object, before: tuple[str, str] | None,
        token: gr.OAuthToken | None,
    ) -> list[Any]:  # fmt: skip
        """Show the visitor's models anew; the first run is shown unless a model was named.

        The Hub may not have said who the visitor is as the page was opened.
        """
        owner = self._server.find_owner(token)
        jobs = self._server.jobs
        runs = run_choices(jobs, owner) if owner is not None else []
        own = published_by(jobs, owner) if owner is not None else []
        ids = [id for _, id in runs]
        is_first = bool(ids) and not chosen and not name
        return [
            RUN if is_first else "",
            # Another may be chosen meanwhile: the value is left alone where it can be.
            gr.Dropdown(runs) if chosen in ids else gr.Dropdown(runs, value=next(iter(ids), None)),
            gr.Dropdown(own, visible=bool(own)),
            gr.HTML(visible=owner is None),
            *self._now(owner, before or ("", "")),
        ]

    def choose(self, job: object, token: gr.OAuthToken | None) -> tuple[Any, Any]:
        """Choose one of the visitor's runs."""
        owner = self._server.find_owner(token)
        runs = run_choices(self._server.jobs, owner) if owner is not None else []
        if job not in [id for _, id in runs]:  # telling of the run, where it is, says why
            return gr.skip(), gr.skip()
        return gr.Radio(value=RUN), gr.Dropdown(runs, value=job)

    def rounds(self, run: object, token: gr.OAuthToken | None) -> Any:
        """List the models of a run."""
        owner = self._server.find_owner(token)
        if not run or owner is None:
            return gr.Dropdown([], value=None)
        try:
            folder = self._server.jobs.folders.run(self._server.jobs.get(owner, str(run)))
        except UserError:  # telling of the run says so
            return gr.Dropdown([], value=None)
        found = model_choices(folder)
        return gr.Dropdown(found, value=found[0][1] if found else None)

    def turn(self, source: object) -> list[Any]:
        """Show the inputs of a source."""
        return [gr.Column(visible=source == RUN), gr.Column(visible=source != RUN)]

    @on_error(
        lambda error: [
            problems_view(error, LABELS), gr.Column(visible=False), *[gr.skip()] * (_LOOKED - 2),
        ]
    )  # fmt: skip
    def show(
        self, source: object, run: object, what: object, token: gr.OAuthToken | None
    ) -> list[Any]:
        """Tell of one of the visitor's own models, or make room for a published one."""
        if source != RUN or not run:
            empty = _NO_RUNS if source == RUN else _EMPTY
            return [empty, gr.Column(visible=False), *[gr.skip()] * (_LOOKED - 2)]
        model = find_own_model(self._server.jobs, self._server.owner(token), run, what)
        return [
            "",
            gr.Column(visible=True),
            own_model_view(model),
            audit_view(model.report),
            gr.Code(visible=False),
            gr.Accordion(visible=model.report is not None),
            gr.Accordion(visible=False),
            "",
            gr.Textbox(visible=model.text),
        ]

    @on_error(
        lambda error: [
            problems_view(error, LABELS), gr.Column(visible=False), *[gr.skip()] * (_LOOKED - 2),
        ]
    )  # fmt: skip
    def verify(self, name: str | None, token: gr.OAuthToken | None) -> list[Any]:
        """Show the checks of a model and, if they hold, its card and audit."""
        model = verify_model(name, self._server.visitor(token).token)
        manifest = model.manifest
        if manifest is None:
            hidden = [gr.Column(visible=False), *[gr.skip()] * (_LOOKED - 2)]
            return [checks_view(model.checks), *hidden]
        return [
            checks_view(model.checks),
            gr.Column(visible=True),
            summary_view(manifest),
            audit_view(manifest.audit, manifest.beside),
            gr.Code(loading_code(manifest, model.repo_id), visible=True),
            gr.Accordion(visible=True),
            gr.Accordion(visible=True),
            card_text_view(model.card),
            gr.Textbox(visible=manifest.text),
        ]

    def pick(self, model: str | None, token: gr.OAuthToken | None) -> list[Any]:
        """Verify one of the visitor's published models; nothing where the choice was taken back."""
        return [model, *self.verify(model, token)] if model else [gr.skip()] * (_LOOKED + 1)

    def show_run(
        self, source: object, run: object, what: object, token: gr.OAuthToken | None
    ) -> list[Any]:
        """Tell of the visitor's own model where one was chosen while another was verified."""
        return self.show(source, run, what, token) if source == RUN else [gr.skip()] * _LOOKED

    @on_error(lambda error: [gr.HTML(problems_view(error, LABELS), visible=True), *[gr.skip()] * 5])
    def generate(
        self, source: object, run: object, what: object, name: str | None,
        prompts: str | None, number: object, steps: object, seed: object,
        token: gr.OAuthToken | None,
    ) -> list[Any]:  # fmt: skip
        """Let the server draw."""
        visitor = self._server.visitor(token)
        owner = visitor.require_owner()
        jobs = self._server.jobs
        if source == RUN:
            own = find_own_model(jobs, owner, run, what)
            request = read_request(prompts, number, steps, seed, own.text)
            jobs.requests.sample_run(owner, own.job, own.round, request)
        else:
            model = verify_model(name, visitor.token)
            if model.manifest is None:
                raise UserErrors(model.problems)
            request = read_request(prompts, number, steps, seed, model.manifest.text)
            generate(jobs, visitor, model, request)
        return [gr.HTML("", visible=False), *self._now(owner, ("", ""))]

    @on_error(warn)
    def stop(self, token: gr.OAuthToken | None) -> None:
        """Stop drawing for this visitor."""
        self._server.jobs.requests.stop(self._server.owner(token), "sample")

    @on_error(lambda error: [gr.skip()] * 5)  # the next tick asks again
    def tick(self, before: tuple[str, str] | None, token: gr.OAuthToken | None) -> list[Any]:
        """Show what has changed."""
        return self._now(self._server.visitor(token).owner, before or ("", ""))

    def _now(self, owner: str | None, before: tuple[str, str]) -> list[Any]:
        """Return the progress, the pictures, the stop button, the timer, and the keys of these."""
        drawing = find_generation(self._server.jobs, owner) if owner is not None else None
        if drawing is None:
            marks = ("nothing", str(owner))
            if marks == before:
                return [gr.skip()] * 5
            stop, clock = gr.Button(visible=False), gr.Timer(active=False)
            return [nothing_view(owner is not None), "", stop, clock, marks]
        marks = drawing.marks
        if marks == before:
            return [gr.skip()] * 5
        progress, busy = drawing.request.progress, drawing.request.busy
        progress_html: Any = gr.skip()
        pictures_html: Any = gr.skip()
        if marks[0] != before[0]:
            progress_html = generating_view(
                progress, drawing.arguments, drawing.samples, drawing.run
            )
        if marks[1] != before[1]:
            pictures_html = generated_view(drawing.samples, drawing.folder, busy, drawing.run)
        stops = busy and progress.state != "stopping"
        return [
            progress_html,
            pictures_html,
            gr.Button(visible=stops),
            gr.Timer(active=busy),
            marks,
        ]


def use_tab(
    server: Server, page: gr.Blocks, tab: gr.Tab
) -> tuple[Callable[..., tuple[Any, Any]], tuple[gr.Radio, gr.Dropdown]]:
    """Lay out the tab.

    Args:
        server: the page's server.
        page: shows the newest pictures when it is loaded.
        tab: lists the visitor's runs anew when it is chosen.

    Returns:
        A handler that chooses the visitor's run of an id, and its outputs.
    """
    act = Handlers(server)
    source = gr.Radio(_SOURCES, value=HUB, label=LABELS["source"], elem_id="source")
    with gr.Column(visible=False) as mine, gr.Row(equal_height=True):
        run = gr.Dropdown(
            [], label=LABELS["run"], interactive=True, min_width=220, elem_id="own-run", **_FREE
        )
        what = gr.Dropdown(
            [], label=LABELS["round"], interactive=True, min_width=220, elem_id="own-round", **_FREE
        )
    with gr.Column() as theirs:
        own = gr.Dropdown(
            [], label="One of your published models", visible=False, interactive=True,
            elem_id="own", **_FREE,
        )  # fmt: skip
        with gr.Row(equal_height=True):
            name = gr.Textbox(
                label=LABELS["repo_id"], placeholder="owner/name", scale=4, elem_id="published"
            )
            button = gr.Button("Verify", variant="primary", scale=1)
    checks = gr.HTML(_EMPTY, elem_id="checks")
    with gr.Column(visible=False) as known:
        glance = gr.HTML(elem_id="known")
        code = gr.Code(
            language=None, label="Use it with stock diffusers", interactive=False,
            wrap_lines=True, lines=4, elem_id="code",
        )  # fmt: skip
        with gr.Accordion("The whole audit", open=False) as whole_audit:
            audit = gr.HTML(elem_id="whole-audit")
        with gr.Accordion("The whole card", open=False) as whole_card:
            card = gr.HTML(elem_id="card")
        gr.Markdown("## Generate pictures")
        hint = gr.HTML(_SIGN_IN, visible=False, elem_id="sign-in")
        prompts = gr.Textbox(
            label=LABELS["prompt"], lines=2, max_lines=ON_PAGE.prompts, elem_id="prompts",
            placeholder="what to draw; one prompt a line",
        )  # fmt: skip
        # No bounds and no rounding here: problems are reported in words.
        number = gr.Number(
            4,
            label=LABELS["num_images"],
            info=f"For each prompt, if there are prompts; at most {ON_PAGE.pictures} in all.",
        )
        with gr.Accordion("Steps and seed", open=False), gr.Row():
            steps = gr.Number(50, label=LABELS["num_inference_steps"], info="Denoising steps.")
            seed = gr.Number(
                0, label=LABELS["seed"], info="The same seed draws the same picture again."
            )
        draw = gr.Button("Generate", variant="primary", elem_id="draw")
        problems = gr.HTML(visible=False, elem_id="wrong")
    gr.Markdown("## Your pictures")
    status = gr.HTML(elem_id="drawing")
    stop = gr.Button("Stop", visible=False, elem_id="stop-drawing")
    pictures = gr.HTML(elem_id="pictures")
    marks = gr.State(("", ""))
    clock = gr.Timer(_TICK, active=False)
    now = [status, pictures, stop, clock, marks]

    quiet: dict[str, Any] = {"api_visibility": "private"}
    looked = [checks, known, glance, audit, code, whole_audit, whole_card, card, prompts]
    assert len(looked) == _LOOKED
    chosen = [source, run, what]
    offered = gr.Textbox(visible="hidden")
    offer: dict[str, Any] = {
        "fn": None, "inputs": [offered, name, source], "outputs": source, "js": _UNLESS_NAMED,
    }  # fmt: skip
    page.load(act.load, None, [offered, run, own, hint, *now], **quiet).then(**offer, **quiet)
    # The list of models that a run has may be the same: it does not tell of a change then.
    source.change(act.turn, source, [mine, theirs], **quiet).then(act.show, chosen, looked, **quiet)
    run.change(act.rounds, run, what, **quiet).then(act.show, chosen, looked, **quiet)
    what.input(act.show, chosen, looked, **quiet)
    tab.select(
        act.refresh, [run, name, marks], [offered, run, own, hint, *now], show_progress="hidden",
        **quiet,
    ).then(**offer, **quiet)  # fmt: skip
    shows_run: dict[str, Any] = {"fn": act.show_run, "inputs": chosen, "outputs": looked}
    for event in (button.click, name.submit):
        event(act.verify, name, looked, **quiet, **AGAIN).then(**shows_run, **quiet).then(
            _no_problems, None, problems, **quiet
        )
    # gradio tells of an input also where the list is left as it was; of a change it does not.
    picked = gr.Textbox(visible="hidden")
    own.input(lambda model: model or gr.skip(), own, picked, **quiet)
    picked.change(act.pick, picked, [name, *looked], **quiet).then(**shows_run, **quiet)
    # The list fills the box, and is empty again: the same model can be chosen once more.
    name.change(None, None, [own, picked], js="() => [null, '']", **quiet)
    arguments = [*chosen, name, prompts, number, steps, seed]
    draw.click(act.generate, arguments, [problems, *now], **quiet)
    stop.click(act.stop, None, None, **quiet).then(act.tick, marks, now, **quiet)
    clock.tick(act.tick, marks, now, show_progress="hidden", queue=False, **quiet)
    return act.choose, (source, run)


def _no_problems() -> Any:
    return gr.HTML("", visible=False)
