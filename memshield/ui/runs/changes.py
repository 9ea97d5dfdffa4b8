"""The panel that resumes a run, or trains it anew, with changed settings."""

from __future__ import annotations

import gradio as gr

from memshield.jobs.view import JobView
from memshield.ui.errors import on_error
from memshield.ui.runs.text_inputs import parse_settings
from memshield.ui.server.server import Server
from memshield.ui.widgets.fields import RAW
from memshield.ui.widgets.problems import problems_view

_LABEL = "Settings to change"


class ChangesPanel:
    """Lays out the panel, and answers its buttons.

    Args:
        server: the page's server.
        chosen: id of the shown job.
        started: takes the id of a new job.

    Attributes:
        shown: components that `changes_shown` updates.
        resumed: event after which the job may have been resumed.
    """

    def __init__(self, server: Server, chosen: gr.Textbox, started: gr.State) -> None:
        self._server = server
        with gr.Accordion("Train with other settings", open=False, visible=False) as part:
            text = gr.Textbox(
                label=_LABEL,
                info="A setting a line, by its name under All other settings or in the file of "
                "settings. Resume refuses settings that may not change within a run; use them to "
                "train anew.",
                placeholder="gradient_checkpointing: true",
                lines=3,
                elem_id="changes",
            )
            said = gr.HTML(elem_id="problem-changes", elem_classes=["ms-slot"])
            with gr.Row():
                resume = gr.Button("Resume with these", visible=False)
                anew = gr.Button("Train anew with these")
        self.shown = [part, resume]
        # What was typed and refused for a run is not another's.
        chosen.change(None, None, [text, said], js="() => ['', '']", queue=False, **RAW)
        self.resumed = resume.click(self._resume, [chosen, text], said, **RAW)
        anew.click(self._anew, [chosen, text], [said, started], **RAW)

    @on_error(problems_view)
    def _resume(self, job: object, text: object, token: gr.OAuthToken | None) -> str:
        owner = self._server.owner(token)
        self._server.jobs.resume(owner, str(job or ""), parse_settings(text, _LABEL))
        return ""

    @on_error(lambda error: (problems_view(error), gr.skip()))
    def _anew(self, job: object, text: object, token: gr.OAuthToken | None) -> tuple[str, object]:
        owner = self._server.owner(token)
        changes = parse_settings(text, _LABEL)
        return "", self._server.jobs.submit_changed(owner, str(job or ""), changes).id


def changes_shown(view: JobView) -> list[object]:
    """Updates for `ChangesPanel.shown`: hidden while the job is busy."""
    settled = "delete" in view.actions and "stop" not in view.actions
    return [gr.update(visible=settled), gr.update(visible="resume" in view.actions)]
