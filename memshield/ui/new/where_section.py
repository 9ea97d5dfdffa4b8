"""The part of the form that says where to run: this machine, or Hugging Face Jobs."""

from __future__ import annotations

from typing import Any

import gradio as gr

from memshield.ui.errors import attempt
from memshield.ui.form.where import DOLLARS, offers, usual_of
from memshield.ui.new.forecast_view import right_to_jobs_view
from memshield.ui.runs.account import token_input
from memshield.ui.server.server import Server
from memshield.ui.widgets.fields import QUIET, Fields


class WhereSection:
    """Lays out the section.

    Args:
        server: the page's server.
        page: fills in the hardware when it is loaded.
        fields: takes the inputs.

    Attributes:
        cost: shows what the training costs.
    """

    def __init__(self, server: Server, page: gr.Blocks, fields: Fields) -> None:
        self._server = server
        self._first = "jobs" if server.offers_jobs_first else "here"
        here, jobs = (f"This machine: {server.machine.in_words()}", "here"), (
            "Hugging Face Jobs: a machine of the Hub, paid by the minute from your account", "jobs"
        )  # fmt: skip
        options = [jobs, here] if self._first == "jobs" else [here, jobs]
        gr.Markdown("## Where to run")
        place = fields.add("place", "Where to run", lambda: gr.Radio(
            options, value=self._first, label="Where to run", show_label=False,
            elem_id="place"))  # fmt: skip
        with gr.Column(visible=self._first == "jobs", elem_id="on-jobs") as there:
            with gr.Row():
                self._hardware = fields.add("hardware", "Hardware", lambda: gr.Dropdown(
                    [], label="Hardware", elem_id="hardware",
                    info="Its memory, and the Hub's price."), scale=2, min_width=300)  # fmt: skip
                fields.add("ceiling", "Ceiling of the cost", lambda: gr.Textbox(
                    f"{DOLLARS:g}", label="Ceiling of the cost, in dollars", max_length=40,
                    info="Shortly before it is reached, the training saves a checkpoint and "
                    "stops."), min_width=220)  # fmt: skip
            self.cost = gr.HTML(elem_id="cost", elem_classes=["ms-slot"])
            self._right = gr.HTML(elem_id="right-to-jobs")
            if not server.deployment.on_space:
                given = token_input(server, "jobs-token")
                given(self._told, None, self._right, **QUIET)
        place.change(self._show, [place, self._hardware], [there, self._hardware], **QUIET)
        page.load(
            self._load, None, [self._hardware, self._right], show_progress="hidden",
            api_visibility="private",
        )  # fmt: skip

    def _show(self, place: str, hardware: str | None) -> list[Any]:
        """Show what Jobs take; the Hub may not have told its prices when the page came."""
        shown = gr.Column(visible=place == "jobs")
        if place != "jobs" or hardware:
            return [shown, gr.skip()]
        return [shown, self._offered()]

    def _offered(self) -> Any:
        offered = offers(self._server.jobs.places.prices.get())
        listed = [(one.label, one.name) for one in offered]
        return gr.Dropdown(listed, value=usual_of(offered))

    def _load(self, token: gr.OAuthToken | None) -> list[Any]:
        return [self._offered(), self._told(token)]

    def _told(self, token: gr.OAuthToken | None) -> str:
        """Show whether this visitor may run Jobs, and the way to it."""
        visitor = attempt(lambda: self._server.visitor(token))
        owner = None if visitor is None else visitor.owner
        may = owner is not None and self._server.jobs.places.token_of(owner) is not None
        return right_to_jobs_view(may, self._server.deployment.on_space)
