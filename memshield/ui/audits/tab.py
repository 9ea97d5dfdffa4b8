"""The tab to audit any model, wherever it was trained, and to read such audits."""

from __future__ import annotations

from typing import Any

import gradio as gr

from memshield.errors import UserError
from memshield.jobs.model_audits import ModelAudit
from memshield.runs.reports import readable_in
from memshield.ui.audits.asked import check_audit
from memshield.ui.audits.audited import NOTHING, SIGNED_OUT, audited_view, line_of
from memshield.ui.audits.form import AuditForm
from memshield.ui.errors import on_error
from memshield.ui.runs.at_risk import at_risk_view
from memshield.ui.server.server import Server, warn
from memshield.ui.widgets.audit import audit_view
from memshield.ui.widgets.fields import RAW
from memshield.ui.widgets.problems import heading_view, problems_view, status_view

_ABOUT = (
    "Measure how much a model gives back of the pictures that it was trained on, wherever it was "
    "trained. The report has the same figures as that of a run."
)
_TICK = 1.0
_HIDDEN: dict[str, Any] = {"show_progress": "hidden", "queue": False, **RAW}
_SHOWN = 8
"""Outputs that show an audit."""


class Handlers:
    """Answers the list, its buttons and its timer.

    Args:
        server: the page's server.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    def listed(self, chosen: object, token: gr.OAuthToken | None) -> Any:
        """List the visitor's audits, newest first."""
        owner = self._server.find_owner(token)
        audits = self._server.jobs.model_audits.list(owner) if owner is not None else []
        ids = [one.id for one in audits]
        return gr.Dropdown(
            [(line_of(one), one.id) for one in audits],
            value=chosen if chosen in ids else next(iter(ids), None),
            visible=bool(audits),
        )

    def load(self, token: gr.OAuthToken | None) -> list[Any]:
        """Show the visitor's newest audit, and fold the form unless there is none."""
        owner = self._server.find_owner(token)
        audits = self._server.jobs.model_audits.list(owner) if owner is not None else []
        newest = audits[0].id if audits else None
        return [gr.Accordion(open=newest is None), *self.show(newest, "", token)]

    def show(self, chosen: object, before: object, token: gr.OAuthToken | None) -> list[Any]:
        """Show an audit, skipped where nothing is new: its line, state, result, buttons and key."""
        try:
            owner = self._server.visitor(token).owner
            if owner is None or not chosen:
                return _blank(SIGNED_OUT if owner is None else NOTHING, before)
            audit = self._server.jobs.model_audits.get(owner, chosen)
        except UserError as error:
            return _blank(problems_view(error), before)
        line = f"{audit.id} {audit.progress.state}|"
        now = line + repr((audit.progress, audit.phase, audit.position))
        if now == before:
            return [gr.skip()] * _SHOWN
        result, risk = _result(audit)
        return [
            gr.skip() if str(before).startswith(line) else self.listed(chosen, token),
            audited_view(audit, not self._server.deployment.on_space),
            result,
            risk,
            gr.Button(visible="stop" in audit.actions),
            gr.Button(visible="delete" in audit.actions),
            gr.Timer(active=audit.busy),
            now,
        ]

    @on_error(warn)
    def stop(self, chosen: object, token: gr.OAuthToken | None) -> None:
        """Stop an audit."""
        self._server.jobs.model_audits.stop(self._server.owner(token), chosen)

    @on_error(warn)
    def delete(self, chosen: object, token: gr.OAuthToken | None) -> None:
        """Delete an audit."""
        self._server.jobs.model_audits.delete(self._server.owner(token), chosen)


def _blank(words: str, before: object) -> list[Any]:
    if words == before:
        return [gr.skip()] * _SHOWN
    hidden = gr.Button(visible=False)
    return [gr.skip(), words, "", "", hidden, hidden, gr.Timer(active=False), words]


def _result(audit: ModelAudit) -> tuple[str, str]:
    """The report, and the training pictures at risk, which are for the owner only."""
    report = readable_in(audit.folder) if audit.progress.state == "done" else None
    return ("", "") if report is None else (audit_view(report), at_risk_view(audit.folder))


def audits_tab(server: Server, page: gr.Blocks, tab: gr.Tab) -> None:
    """Lay out the tab.

    Args:
        server: the page's server.
        page: lists the audits when it is loaded.
        tab: lists them anew when it is chosen.
    """
    act = Handlers(server)
    gr.HTML(heading_view("Audit any model", _ABOUT))
    with gr.Accordion("A new audit", open=True) as new:
        form = AuditForm(server)
        start = gr.Button("Start the audit", variant="primary", elem_id="start-audit")
    fields = form.fields
    said = gr.HTML(elem_id="audit-asked", elem_classes=["ms-slot"])
    gr.Markdown("## Your audits")
    chosen = gr.Dropdown(
        [], label="Audit", visible=False, interactive=True, allow_custom_value=True,
        elem_id="audits",
    )  # fmt: skip
    state = gr.HTML(NOTHING, elem_id="audit-state")
    with gr.Row():
        small: dict[str, Any] = {"visible": False, "size": "sm", "scale": 0, "min_width": 140}
        stop = gr.Button("Stop", elem_id="stop-audit", **small)
        delete = gr.Button("Delete", variant="stop", elem_id="delete-audit", **small)
    with gr.Row(visible=False) as asking:
        surely = gr.Button("Delete this audit with its report and pictures", variant="stop")
        keep = gr.Button("Keep it")
    result = gr.HTML(elem_id="audit-result")
    risk = gr.HTML(elem_id="audit-risk")
    seen = gr.State("")
    clock = gr.Timer(_TICK, active=False)
    shown = [chosen, state, result, risk, stop, delete, clock, seen]
    assert len(shown) == _SHOWN

    def on_start(given: dict[Any, Any], token: gr.OAuthToken | None) -> list[Any]:
        try:
            visitor = server.visitor(token)
            checked = check_audit(server.jobs, visitor, form.values(given))
            id = server.jobs.model_audits.submit(
                visitor.require_owner(), checked.values, checked.needs_token
            )
        except UserError as error:
            skipped = [gr.skip(), gr.skip()]
            errors = form.errors(error)
            return [fields.summary(errors), *skipped, *fields.shown(errors)]
        words = " ".join(["It is queued, and shown below.", *checked.notes])
        return [
            status_view(words),
            act.listed(id, token),
            gr.Accordion(open=False),
            *fields.shown([]),
        ]

    looks: dict[str, Any] = {"fn": act.show, "inputs": [chosen, seen], "outputs": shown}
    lists: dict[str, Any] = {"fn": act.listed, "inputs": chosen, "outputs": chosen}
    start.click(
        on_start, outputs=[said, chosen, new, *fields.slots.values()], **RAW,
        **fields.read_by(form.inputs), show_progress_on=said,
    ).then(**looks, **_HIDDEN)  # fmt: skip
    page.load(act.load, None, [new, *shown], **_HIDDEN)
    tab.select(**lists, **_HIDDEN).then(**looks, **_HIDDEN)
    chosen.change(**looks, **_HIDDEN)
    clock.tick(**looks, **_HIDDEN)
    stop.click(act.stop, chosen, None, **RAW).then(**looks, **_HIDDEN)
    delete.click(lambda: gr.Row(visible=True), None, asking, **_HIDDEN)
    gr.on(
        [surely.click, keep.click, chosen.change], lambda: gr.Row(visible=False), None, asking,
        **_HIDDEN,
    )  # fmt: skip
    surely.click(act.delete, chosen, None, **RAW).then(**lists, **_HIDDEN).then(**looks, **_HIDDEN)
