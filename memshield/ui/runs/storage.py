"""The panel that shows and deletes a visitor's uploads and downloads on the server."""

from __future__ import annotations

from typing import Any

import gradio as gr

from memshield.quantities import size
from memshield.ui.errors import on_error
from memshield.ui.server.server import Server
from memshield.ui.widgets.problems import problems_view, status_view

_WORDS = (
    "Your uploads stay here until you delete them, and so do the last pictures that a model drew "
    "and, on a Space, the downloads and encoded pictures of your runs. Deleting them keeps your "
    "runs, models and audits, but a run whose pictures are deleted can be neither resumed "
    "nor audited."
)


class StoragePanel:
    """Lays out the panel, and answers its buttons.

    Args:
        server: the page's server.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        gr.Markdown(_WORDS)
        with gr.Row():
            look = gr.Button("Show sizes", size="sm", scale=0, min_width=160)
            delete = gr.Button("Delete", size="sm", scale=0, min_width=160)
        with gr.Row(visible=False) as asking:
            surely = gr.Button("Delete all uploads and downloads", variant="stop", size="sm")
            keep = gr.Button("Keep them", size="sm")
        said = gr.HTML(elem_id="kept-here")
        quiet: dict[str, Any] = {"api_visibility": "private"}
        look.click(self._on_look, None, said, **quiet)
        delete.click(lambda: gr.Row(visible=True), None, asking, **quiet)
        surely.click(self._on_delete, None, said, **quiet)
        gr.on([surely.click, keep.click], lambda: gr.Row(visible=False), None, asking, **quiet)

    @on_error(problems_view)
    def _on_look(self, token: gr.OAuthToken | None) -> str:
        kept = self._server.jobs.owner_storage.of(self._server.owner(token))
        return status_view(f"Uploads: {size(kept.uploads)}. Downloads: {size(kept.cache)}.")

    @on_error(lambda error: problems_view(error, title="Nothing was deleted"))
    def _on_delete(self, token: gr.OAuthToken | None) -> str:
        self._server.jobs.owner_storage.delete(self._server.owner(token))
        return status_view("Only your runs and audits are kept here now.")
