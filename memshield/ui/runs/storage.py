"""What the server keeps of a visitor beside the runs, and deleting it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from memshield.errors import UserError
from memshield.quantities import size
from memshield.ui.server.server import Server
from memshield.ui.widgets.problems import problems_view, status_view

_WORDS = (
    "Pictures that you uploaded, and on a Space what your runs fetched and encoded, stay here "
    "until you delete them, and so do the pictures that a model drew last. Runs and their models "
    "are not touched; but a run of deleted pictures can be neither resumed nor audited."
)


class KeptPart:
    """Lays it out.

    Args:
        server: see there.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        gr.Markdown(_WORDS)
        with gr.Row():
            look = gr.Button("How much is it?", size="sm", scale=0, min_width=160)
            delete = gr.Button("Delete it", size="sm", scale=0, min_width=160)
        with gr.Row(visible=False) as asking:
            surely = gr.Button("Delete all uploads and downloads", variant="stop", size="sm")
            keep = gr.Button("Keep them", size="sm")
        said = gr.HTML(elem_id="kept-here")
        quiet: dict[str, Any] = {"api_visibility": "private"}
        look.click(self._on_look, None, said, **quiet)
        delete.click(lambda: gr.Row(visible=True), None, asking, **quiet)
        surely.click(self._on_delete, None, said, **quiet)
        gr.on([surely.click, keep.click], lambda: gr.Row(visible=False), None, asking, **quiet)

    def _on_look(self, token: gr.OAuthToken | None) -> str:
        try:
            kept = self._server.jobs.belongings.of(self._server.owner(token))
        except UserError as error:
            return problems_view(error)
        return status_view(f"Uploads: {size(kept.uploads)}. Downloads: {size(kept.cache)}.")

    def _on_delete(self, token: gr.OAuthToken | None) -> str:
        try:
            self._server.jobs.belongings.delete(self._server.owner(token))
        except UserError as error:
            return problems_view(error, title="Nothing was deleted")
        return status_view("Nothing of yours is kept here but your runs.")
