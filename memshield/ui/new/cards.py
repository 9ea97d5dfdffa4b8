"""The cards of the first screen: lays them out, and lets them start the demo or fill the form."""

from __future__ import annotations

from typing import Any

import gradio as gr

from memshield.ui.errors import attempt, on_error
from memshield.ui.new.first_screen import Way, times, way_view, ways
from memshield.ui.new.submission import pace_for, start_demo
from memshield.ui.server.server import Server
from memshield.ui.widgets.fields import RAW
from memshield.ui.widgets.problems import problem_view

_TO_FORM = """() => setTimeout(() => {
  const form = document.getElementById("form");
  if (form) form.scrollIntoView({ block: "start" });
}, 150)"""


class Cards:
    """Lays out the cards.

    Args:
        server: the page's server.

    Attributes:
        shown: what `greet` returns.
        opened: event that shows the form as it is.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ways = ways(server.machine)
        self._buttons: dict[str, gr.Button] = {}
        self.shown: list[gr.HTML] = []
        with gr.Row(elem_id="first", equal_height=True):
            for way in self._ways:
                with gr.Column(elem_classes=["ms-way"], min_width=200):
                    self.shown.append(gr.HTML(way_view(way), elem_id=f"way-{way.name}"))
                    self._lay_out_buttons(way)
        self.opened = self._settings.click
        self._said = gr.HTML(elem_id="problem-first", elem_classes=["ms-slot"])

    def _lay_out_buttons(self, way: Way) -> None:
        variant: Any = "primary" if way.kind == "demo" else "secondary"
        self._buttons[way.name] = gr.Button(way.start, variant=variant)
        if way.kind == "demo":
            self._settings = gr.Button("Change its settings", size="sm", elem_id="demo-settings")

    def join(self, form: gr.Column, kind: gr.Radio, where: gr.Radio, started: gr.State) -> None:
        """Let the buttons fill the form.

        Args:
            form: shown once a way is chosen.
            kind, where: of the form.
            started: takes the id of a demo that was started.
        """
        opens = {**self._buttons, "demo": self._settings}
        for way in self._ways:
            opens[way.name].click(
                _chooses(way), None, [form, kind, where], queue=False, **RAW
            ).then(None, None, None, js=_TO_FORM, **RAW)

        @on_error(lambda error: [problem_view(error), gr.skip()])
        def on_start(token: gr.OAuthToken | None) -> list[Any]:
            return ["", start_demo(self._server, token)]

        self._buttons["demo"].click(on_start, None, [self._said, started], **RAW)

    def greet(self, token: gr.OAuthToken | None) -> list[str]:
        """Show the times on this machine, measured where a run of the visitor's tells them."""
        visitor = attempt(lambda: self._server.visitor(token))
        pace = pace_for(self._server, None if visitor is None else visitor.owner)
        said = times(self._server.machine, pace)
        return [way_view(way, time) for way, time in zip(self._ways, said, strict=True)]


def _chooses(way: Way) -> Any:
    return lambda: [gr.Column(visible=True), way.kind, way.where]
