"""The visitor's runs: watch, stop, go on, audit, choose a round, publish, delete."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from memshield.audit.report import PRIVATE
from memshield.errors import UserError
from memshield.hub.publication import read_publication
from memshield.hub.publish import Publisher, open_to_publish
from memshield.jobs.view import JobView
from memshield.rundir import RunDir
from memshield.ui.sending import MadeOnce, only_new
from memshield.ui.server import Server, told
from memshield.ui.views.at_risk import at_risk_view
from memshield.ui.views.audit import audit_view, rounds_view
from memshield.ui.views.card import card_view
from memshield.ui.views.charts import charts_view, figures_view
from memshield.ui.views.following import Progress, fingerprint, read_progress
from memshield.ui.views.log import log_text_view
from memshield.ui.views.problems import empty_view, problems_view, status_view
from memshield.ui.views.progress import progress_view
from memshield.ui.views.publish import plan_view, publication_view
from memshield.ui.views.reports import read_audit, read_rounds, report_in
from memshield.ui.views.samples import samples_view

_NONE = empty_view("No runs yet", "Start one under New training; the demo takes minutes.")
_TICK = 1.0
_ACTIONS = ("stop", "resume", "audit", "delete")
Seen = tuple[str, list[str]]
"""What all that a tab shows follows from, and a digest of every output."""
_NOTHING: Seen = ("", [])


def runs_tab(server: Server, page: gr.Blocks, started: gr.State) -> None:
    """Lay the tab out.

    Args:
        server: see there.
        page: whose loading fills the list.
        started: id of the job that this visitor has started last.
    """
    # A page that was open while the server started anew names a run that the new server has not
    # listed for it; whose it is, is looked up in any case.
    chosen = gr.Dropdown([], label="Run", elem_id="run", interactive=True, allow_custom_value=True)
    seen = gr.State(_NOTHING)
    head = gr.HTML(elem_id="state")
    with gr.Row():
        buttons = {
            "stop": gr.Button("Stop", visible=False),
            "resume": gr.Button("Resume", variant="primary", visible=False),
            "audit": gr.Button("Audit", visible=False),
            "delete": gr.Button("Delete", variant="stop", visible=False),
        }
    with gr.Row(visible=False) as asking:
        surely = gr.Button("Delete this run with all its files", variant="stop")
        keep = gr.Button("Keep it")
    with gr.Tabs():
        with gr.Tab("Progress"):
            charts, figures, samples = gr.HTML(), gr.HTML(), gr.HTML()
        with gr.Tab("Audit"):
            audit, rounds, risk = gr.HTML(), gr.HTML(), gr.HTML()
        with gr.Tab("Publish"):
            publishing = _Publishing(server, chosen)
        with gr.Tab("Log"):
            log = gr.HTML()
            # No language: gradio's colours for it cannot be read on white.
            command = gr.Code(
                label="The command, as you would type it", language=None, interactive=False
            )
    outputs = [head, *buttons.values(), charts, figures, samples, audit, rounds, risk,
               publishing.state, log, command, seen]  # fmt: skip
    timer = gr.Timer(_TICK)

    made = MadeOnce()

    def on_tick(job: str | None, before: Seen | None, token: gr.OAuthToken | None) -> list[Any]:
        before = before or _NOTHING
        try:
            now, make = _looked(server, server.visitor(token).owner, job, outputs)
        except UserError as error:
            words = problems_view(error)
            now, make = f"error {words}", lambda: [words, *_blank(outputs)]
        if now == before[0]:
            return [gr.skip()] * len(outputs)
        new, sent = only_new(made.get(now, make), before[1])
        return [*new, (now, sent)]

    def on_load(job: str | None, token: gr.OAuthToken | None) -> Any:
        try:
            owner = server.visitor(token).owner
        except UserError as error:
            told(error)
            owner = None
        jobs = server.jobs.list(owner) if owner is not None else []
        named = [(f"{one.name} · {server.jobs.view_of(one).training.words}", one.id)
                 for one in jobs]  # fmt: skip
        newest = jobs[0].id if jobs else None
        return gr.Dropdown(named, value=job if job in {one.id for one in jobs} else newest)

    page.load(on_load, chosen, chosen, api_visibility="private")
    started.change(on_load, started, chosen, api_visibility="private")
    timer.tick(
        on_tick, [chosen, seen], outputs, show_progress="hidden", queue=False,
        api_visibility="private",
    )  # fmt: skip
    for name, button in {**buttons, "delete": surely}.items():
        button.click(_action(server, name), chosen, None, api_visibility="private").then(
            on_load, chosen, chosen, api_visibility="private"
        )
    buttons["delete"].click(lambda: gr.Row(visible=True), None, asking, api_visibility="private")
    gr.on(
        [surely.click, keep.click, chosen.change], lambda: gr.Row(visible=False), None, asking,
        api_visibility="private",
    )  # fmt: skip


def _action(server: Server, name: str) -> Callable[..., None]:
    def act(job: str | None, token: gr.OAuthToken | None) -> None:
        if not job:
            return
        try:
            getattr(server.jobs, name)(server.owner(token), job)
        except UserError as error:
            told(error)

    return act


def _looked(
    server: Server, owner: str | None, job: str | None, outputs: list[Any]
) -> tuple[str, Callable[[], list[Any]]]:
    """What all that is shown follows from, and how it is made.

    Raises:
        UserError: the owner has no such job, or something of it cannot be read.
    """
    if not job or owner is None:
        return "nothing", lambda: [_NONE, *_blank(outputs)]
    found = server.jobs.get(owner, job)
    view, run = server.jobs.view_of(found), server.jobs.folders.run(found)
    # The id is nobody else's: what is made for its owner is never another's to see.
    now = f"{view.id} {fingerprint(run)} {_states(view)} {server.jobs.log_size(found)}"
    return now, lambda: _shown(server, owner, view, run)


def _blank(outputs: list[Any]) -> list[Any]:
    """Nothing in all but the first and the last output."""
    return [gr.update(visible=False) if isinstance(one, gr.Button) else "" for one in outputs[1:-1]]


def _states(view: JobView) -> str:
    return repr((view.training, view.auditing, view.publishing, view.actions, view.position))


def _shown(server: Server, owner: str, view: JobView, run: RunDir) -> list[Any]:
    progress = read_progress(run)
    reports = read_rounds(run)
    model = run.audit_of(None)
    report = read_audit(run)
    budget = server.jobs.config(owner, view.id).memorization_budget
    beside = report_in(run.path / "audit" / "base")
    head = _head(progress, view)
    for side, name in ((view.auditing, "Audit"), (view.publishing, "Publishing")):
        if side.state not in ("none", "done"):
            head += status_view(f"{name}: {side.words}")
    last = report.target.round if report is not None else None
    places = (model, run.audit_of(last))
    private = next((one for one in places if (one / PRIVATE).is_file()), model)
    died = view.publishing.state == "died"
    return [
        head,
        *(gr.update(visible=name in view.actions) for name in _ACTIONS),
        charts_view(progress, reports, budget),
        figures_view(progress, reports),
        samples_view(run),
        audit_view(report, {"base": beside} if beside else None, budget=budget),
        rounds_view(reports, budget),
        at_risk_view(private) if report is not None else "",
        publication_view(read_publication(run), died),
        log_text_view(server.jobs.log(owner, view.id)),
        view.command,
    ]


def _head(progress: Progress, view: JobView) -> str:
    """How far it is, and what the page knows beyond what the run says of itself."""
    state = view.training.state
    if state == "needs_sign_in":
        return problems_view(UserError("Sign in", view.training.words, view.training.reason or ""))
    if state == "none":
        return ""
    head = progress_view(progress, state, view.position)
    if state in ("died", "failed"):
        # The run itself may have had no time to say why.
        words = view.training.reason
        if words and words != progress.reason:
            head += problems_view(UserError("Training", words), title="What happened")
        if view.training.last_lines:
            head += log_text_view("\n".join(view.training.last_lines))
    return head


class _Publishing:
    """What would be published, and publishing it."""

    def __init__(self, server: Server, chosen: gr.Dropdown) -> None:
        self._server = server
        name = gr.Textbox(label="Repository", placeholder="owner/name", elem_id="repository")
        public = gr.Checkbox(label="Everybody may read it", value=False)
        license = gr.Textbox(label="License", placeholder="that of the base; or such as apache-2.0")
        confirm = gr.CheckboxGroup(
            ["no_audit", "cannot_say", "memorization", "license"],
            label="Publish in spite of these warnings",
        )
        with gr.Row():
            preview = gr.Button("Preview")
            publish = gr.Button("Publish", variant="primary")
        self.state = gr.HTML(elem_id="publication")
        shown = gr.HTML(elem_id="preview")
        inputs = [chosen, name, public, license, confirm]
        preview.click(self._preview, inputs, shown, api_visibility="private")
        publish.click(self._publish, inputs, shown, api_visibility="private")

    def _preview(
        self, job: str | None, name: str, public: bool, license: str, confirm: list[str],
        token: gr.OAuthToken | None,
    ) -> str:  # fmt: skip
        place = Path(tempfile.mkdtemp(prefix="memshield-preview-"))
        try:
            visitor = self._server.visitor(token)
            folder = self._server.run_folder(visitor.require_owner(), job or "")
            run, config = open_to_publish(folder, **_settings(name, public, license, confirm))
            publisher = Publisher(run, config, token=visitor.token)
            destination, _ = publisher.preview(place / "published")
            return plan_view(destination, (), place / "published") + card_view(place / "published")
        except UserError as error:
            return plan_view(None, error)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _publish(
        self, job: str | None, name: str, public: bool, license: str, confirm: list[str],
        token: gr.OAuthToken | None,
    ) -> str:  # fmt: skip
        try:
            owner = self._server.owner(token)
            changes = _settings(name, public, license, confirm)
            self._server.jobs.publish(owner, job or "", changes)
        except UserError as error:
            return problems_view(error)
        return status_view("Publishing: how far it is stands above.")


def _settings(name: str, public: bool, license: str, confirm: list[str]) -> dict[str, Any]:
    return {
        "hub_model_id": name.strip() or None,
        "hub_private_repo": not public,
        "hub_license": license.strip() or None,
        "hub_confirm": confirm or None,
    }
