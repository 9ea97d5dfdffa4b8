"""A run's settings, changed: to go on with, or to train anew."""

from __future__ import annotations

import gradio as gr

from memshield.errors import UserError
from memshield.jobs.view import JobView
from memshield.ui.runs.text_inputs import settings_of
from memshield.ui.server.server import Server
from memshield.ui.widgets.fields import RAW
from memshield.ui.widgets.problems import problems_view

_LABEL = "Settings to change"


class ChangePart:
    """Lays it out.

    Args:
        server: see there.
        chosen: id of the job that is looked at.
        started: takes the id of a job that is begun anew.

    Attributes:
        shown: what `changes_shown` sets.
        resumed: the event after which the job may have gone on.
    """

    def __init__(self, server: Server, chosen: gr.Dropdown, started: gr.State) -> None:
        self._server = server
        with gr.Accordion("Train with other settings", open=False, visible=False) as part:
            text = gr.Textbox(
                label=_LABEL,
                info="One a line, named as under All other settings. What may not differ in a run "
                "that goes on is refused, and can be trained anew.",
                placeholder="gradient_checkpointing: true",
                lines=3,
                elem_id="changes",
            )
            said = gr.HTML(elem_id="problem-changes", elem_classes=["ms-slot"])
            with gr.Row():
                resume = gr.Button("Resume with these", visible=False)
                anew = gr.Button("Train anew with these")
        self.shown = [part, resume]
        self.resumed = resume.click(self._resume, [chosen, text], said, **RAW)
        anew.click(self._anew, [chosen, text], [said, started], **RAW)

    def _resume(self, job: object, text: object, token: gr.OAuthToken | None) -> str:
        try:
            owner = self._server.owner(token)
            self._server.jobs.resume(owner, str(job or ""), settings_of(text, _LABEL))
        except UserError as error:
            return problems_view(error)
        return ""

    def _anew(self, job: object, text: object, token: gr.OAuthToken | None) -> tuple[str, object]:
        try:
            owner = self._server.owner(token)
            changes = settings_of(text, _LABEL)
            return "", self._server.jobs.submit_changed(owner, str(job or ""), changes).id
        except UserError as error:
            return problems_view(error), gr.skip()


def changes_shown(view: JobView) -> list[object]:
    """What `ChangePart.shown` is for a job: not there while it is busy."""
    settled = "delete" in view.actions and "stop" not in view.actions
    return [gr.update(visible=settled), gr.update(visible="resume" in view.actions)]
