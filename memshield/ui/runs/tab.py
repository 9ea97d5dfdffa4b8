"""The tab of the visitor's runs: watch, stop, resume, audit, choose a round, publish, delete."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradio as gr

from memshield.errors import UserError
from memshield.jobs.view import JobView
from memshield.rundir import RunDir
from memshield.runs.progress import fingerprint, read_progress
from memshield.runs.reports import read_rounds
from memshield.runs.state import RunProgress
from memshield.ui.errors import on_error
from memshield.ui.runs.audit import AuditPanel
from memshield.ui.runs.changes import ChangesPanel, changes_shown
from memshield.ui.runs.charts import charts_view, figures_view
from memshield.ui.runs.elsewhere import elsewhere_view
from memshield.ui.runs.output_cache import OutputCache, Outputs
from memshield.ui.runs.pictures import samples_view, scan_view
from memshield.ui.runs.progress import done_view, phase_view, progress_view
from memshield.ui.runs.publish import PublishPanel, consents_of, publishing_view
from memshield.ui.runs.rows import RunRow, rows_view
from memshield.ui.runs.run_list import MOVED, RunList
from memshield.ui.runs.storage import StoragePanel
from memshield.ui.server.server import Server, warn
from memshield.ui.widgets.log import log_text_view
from memshield.ui.widgets.problems import empty_view, problems_view, status_view

_NONE = empty_view("No runs yet", "Start one under New training; the demo takes a few minutes.")
_SIGNED_OUT = empty_view(
    "Sign in to see your runs",
    "Only you can see them. A training goes on while you are away, even after your sign-in has "
    "expired.",
)
_TICK = 0.9
"""Seconds between updates: with the round trip, what is shown is at most a second old."""
_ACTIONS = ("stop", "resume", "fetch", "delete")
_PRIVATE: dict[str, Any] = {"api_visibility": "private"}
Seen = tuple[str, tuple[str, ...]]
"""The key of all that a page shows, and digests of what changes with every step."""
_NOTHING: Seen = ("", ())


def runs_tab(server: Server, page: gr.Blocks, started: gr.State) -> tuple[Any, gr.Textbox]:
    """Lay out the tab.

    Args:
        server: the page's server.
        page: fills the list of runs when it is loaded.
        started: id of the job that the visitor started last.

    Returns:
        The event of a visitor who wants to draw pictures with a finished run, and what holds the
        run's id.
    """
    listed = RunList(server)
    chosen = listed.chosen
    head = gr.HTML(elem_id="state")
    with gr.Row(visible=False, elem_id="ways") as ways:
        draw, look_for, go_publish = (
            gr.Button(words, min_width=140)
            for words in ("Draw pictures", "Look for copies", "Publish it")
        )
    small: dict[str, Any] = {"visible": False, "size": "sm", "scale": 0, "min_width": 140}
    with gr.Row():
        buttons = {
            "stop": gr.Button("Stop", **small),
            "resume": gr.Button("Resume", variant="primary", **small),
            "fetch": gr.Button("Bring its files here", variant="primary", **small),
            "delete": gr.Button("Delete", **{**small, "variant": "stop"}),
        }
        rename = gr.Button("Rename", **small)
    with gr.Row(visible=False) as asking:
        surely = gr.Button("Delete this run with all its files", variant="stop")
        keep = gr.Button("Keep it")
    renamed = listed.lay_out_renaming(rename)
    changing = ChangesPanel(server, chosen, started)
    with gr.Tabs() as parts:
        with gr.Tab("Progress", id="progress"):
            charts, figures = gr.HTML(), gr.HTML()
            samples, scanned = gr.HTML(), gr.HTML(elem_id="scanned")
        with gr.Tab("Audit", id="audit"):
            audit = AuditPanel(server, chosen)
        with gr.Tab("Publish", id="publish"):
            publishing = PublishPanel(server, chosen)
        with gr.Tab("Log", id="log"):
            log = gr.HTML()
            # No language: gradio's colours for it cannot be read on white.
            command = gr.Code(
                label="The command, as you would type it", language=None, interactive=False
            )
    with gr.Accordion("Your uploads and downloads on this server", open=False):
        StoragePanel(server)
    live = [head, charts, figures, log]
    rest = [
        *buttons.values(), rename, ways, *changing.shown, samples, scanned, publishing.state,
        publishing.confirm, command, listed.rows,
    ]  # fmt: skip
    seen, rest_seen = gr.State(_NOTHING), gr.State(())
    # Not a State: gradio reports changes of a State only through its queue.
    more = gr.Textbox(visible="hidden")
    hidden = (gr.Button, gr.Row, gr.Accordion, gr.CheckboxGroup)
    blank = [gr.update(visible=False) if isinstance(one, hidden) else "" for one in rest]
    timer = gr.Timer(_TICK)
    made = OutputCache()

    def look(
        job: str | None, asked: list[Any], token: gr.OAuthToken | None
    ) -> tuple[str, Outputs, list[Any]]:
        """Return the key, the outputs of a run, and those of its audits."""
        rows: tuple[RunRow, ...] = ()
        try:
            owner = server.visitor(token).owner
            if owner is None:
                everything = made.get("signed out", lambda: [_SIGNED_OUT, "", "", "", *blank])
                return "signed out", everything, audit.blank("signed out", asked)
            rows = listed.known.of(owner)
            if not job:
                said = "" if rows else _NONE
                everything = made.get(
                    ("nothing", rows),
                    lambda: [said, "", "", "", *blank[:-1], rows_view(rows, None)],
                )
                return f"nothing of {len(rows)}", everything, audit.blank(f"nothing {owner}", asked)
            found = server.jobs.get(owner, job)
            view, run = server.jobs.view_of(found), server.jobs.folders.run(found)
            # A job has one owner, so that its id keeps the outputs of owners apart.
            now = f"{view.id} {fingerprint(run)} {_states(view)} {server.jobs.log_size(found)}"
            # Ages change with the minutes.
            everything = made.get(
                (now, rows, int(time.time() // 60)),
                lambda: [*_shown(server, owner, view, run), rows_view(rows, view.id)],
            )
            return now, everything, audit.update(owner, view, asked)
        except UserError as error:
            words = problems_view(error)
            now = f"error {words}"
            everything = Outputs.of([words, "", "", "", *blank[:-1], rows_view(rows, None)])
            return now, everything, audit.blank(now, asked)

    # A skipped output costs gradio as much as a sent one. So each tick covers the few that change
    # with every step, and triggers `on_more` if any of the others is new.
    def on_tick(
        job: str | None, before: Seen | None, rest_before: tuple[str, ...] | None,
        what: Any, budget: Any, beside: Any, offered: Any, audited: str,
        token: gr.OAuthToken | None,
    ) -> list[Any]:  # fmt: skip
        now, everything, audits = look(job, [what, budget, beside, offered, audited], token)
        live_now, rest_now = everything[: len(live)], everything[len(live) :]
        is_new = rest_now.digests != tuple(rest_before or ())
        is_new = is_new or any(one != gr.skip() for one in audits)
        seen_before, sent = before or _NOTHING
        again = secrets.token_hex(4) if is_new else gr.skip()
        if now == seen_before:
            return [*[gr.skip()] * len(live), gr.skip(), again]
        return [*live_now.only_new(sent), (now, live_now.digests), again]

    def on_more(
        job: str | None, rest_before: tuple[str, ...] | None, what: Any, budget: Any, beside: Any,
        offered: Any, audited: str, token: gr.OAuthToken | None,
    ) -> list[Any]:  # fmt: skip
        _, everything, audits = look(job, [what, budget, beside, offered, audited], token)
        rest_now = everything[len(live) :]
        found = gr.skip() if job else listed.load_if_any(token)
        return [*rest_now.only_new(rest_before or ()), rest_now.digests, found, *audits]

    answer = listed.answer
    page.load(listed.load, [chosen, chosen], answer, api_visibility="private")
    started.change(listed.load, [started, chosen], answer, api_visibility="private")
    # The list has one writer, `on_more`: what two of them send may arrive in any order.
    answer.change(None, [answer, chosen], [chosen, more], js=MOVED, **_PRIVATE)
    quiet: dict[str, Any] = {
        "show_progress": "hidden", "queue": False, "api_visibility": "private"
    }  # fmt: skip
    asked = [rest_seen, *audit.inputs]
    timer.tick(on_tick, [chosen, seen, *asked], [*live, seen, more], **quiet)
    more.change(on_more, [chosen, *asked], [*rest, rest_seen, answer, *audit.outputs], **quiet)
    acted = [button.click(_action(server, name), chosen, None, api_visibility="private")
             for name, button in {**buttons, "delete": surely}.items()]  # fmt: skip
    for one in (*acted, changing.resumed, *audit.acted, renamed):
        one.then(listed.load, [chosen, chosen], answer, api_visibility="private")
    for button, part in ((look_for, "audit"), (go_publish, "publish")):
        button.click(_selects(part), None, parts, queue=False, **_PRIVATE)
    buttons["delete"].click(lambda: gr.Row(visible=True), None, asking, api_visibility="private")
    gr.on(
        [surely.click, keep.click, chosen.change], lambda: gr.Row(visible=False), None, asking,
        api_visibility="private",
    )  # fmt: skip
    # The preview shows the former model.
    audit.promoted.then(lambda: "", None, publishing.preview, api_visibility="private")
    return draw.click, chosen


def _action(server: Server, name: str) -> Callable[..., None]:
    @on_error(warn)
    def act(job: str | None, token: gr.OAuthToken | None) -> None:
        if job:
            getattr(server.jobs, name)(server.owner(token), job)

    return act


def _selects(part: str) -> Callable[[], Any]:
    return lambda: gr.Tabs(selected=part)


def _states(view: JobView) -> str:
    return repr((view.training, view.auditing, view.publishing, view.actions, view.position,
                 view.elsewhere))  # fmt: skip


def _shown(server: Server, owner: str, view: JobView, run: RunDir) -> list[Any]:
    progress, reports = read_progress(run), read_rounds(run)
    head = _head(progress, view)
    has_model = view.training.state == "done" and run.model.is_dir()
    if has_model:
        head += done_view(run, not server.deployment.on_space)
    for side, name, tab in (
        (view.auditing, "Audit", "Audit"), (view.publishing, "Publishing", "Publish")
    ):  # fmt: skip
        if side.state not in ("none", "done"):
            ill = side.state in ("failed", "died", "needs_sign_in")
            why = f". The reason is shown under {tab}." if ill and side.reason else ""
            going = side is view.auditing and side.state == "running"
            if going and progress.audit is not None:
                head += phase_view(progress.audit, "Audit")
            else:
                head += status_view(f"{name}: {side.words}{why}")
    return [
        head,
        charts_view(progress, reports, server.jobs.config(owner, view.id).memorization_budget),
        figures_view(progress, reports),
        log_text_view(server.jobs.log(owner, view.id)),
        *(gr.update(visible=name in view.actions) for name in _ACTIONS),
        gr.update(visible=True),
        gr.update(visible=has_model),
        *changes_shown(view),
        samples_view(run),
        scan_view(progress, run),
        publishing_view(run, view, server.deployment.on_space),
        consents_of(run),
        view.command,
    ]


def _head(progress: RunProgress, view: JobView) -> str:
    """Show the progress, and what the job knows beyond the run directory."""
    training = view.training
    if training.state == "needs_sign_in":
        return problems_view(UserError("Sign in", training.words, training.reason or ""))
    if training.state == "none":
        return ""
    told = view.elsewhere
    if told is not None:
        progress = replace(progress, checkpoint=told.checkpoint)
    head = elsewhere_view(view)
    head += progress_view(progress, training.state, view.position, told is not None)
    if training.refused:
        problem = UserError("Training", training.reason or training.words)
        head += problems_view(problem, title="The last start failed")
        if training.last_lines:
            head += log_text_view("\n".join(training.last_lines))
    elif training.state in ("died", "failed"):
        # The run itself may have had no time to write its reason.
        if training.state == "failed" and training.reason and not progress.reason:
            head += problems_view(UserError("Training", training.reason), title="What happened")
        if training.last_lines:
            head += log_text_view("\n".join(training.last_lines))
    elif training.state in ("preparing", "running") and training.reason:
        problem = UserError("Training", training.words, training.reason)
        head += problems_view(problem, title="It may hang")
    return head
