"""A published model: whether it is what it claims, and what its card says."""

from __future__ import annotations

import gradio as gr

from memshield.errors import UserError
from memshield.hub.account import api_for
from memshield.hub.catalog.access import require_id
from memshield.hub.verify import on_hub, verify
from memshield.ui.server import Server
from memshield.ui.views.card import card_text_view
from memshield.ui.views.checks import checks_view
from memshield.ui.views.problems import problems_view


def use_tab(server: Server) -> None:
    """Lay the tab out."""
    with gr.Row(equal_height=True):
        name = gr.Textbox(label="Published model", placeholder="owner/name", scale=4)
        button = gr.Button("Verify", variant="primary", scale=1)
    found, card = gr.HTML(elem_id="checks"), gr.HTML()

    def on_verify(text: str, token: gr.OAuthToken | None) -> tuple[str, str]:
        try:
            repo_id = require_id(text or "", "model", "repo_id")
            holding, _ = on_hub(api_for(server.visitor(token).token), repo_id, None)
            checks = verify(holding)
            shown = card_text_view(holding.fetch("README.md").read_text(encoding="utf-8"))
        except UserError as error:
            return problems_view(error, {"repo_id": "Published model"}), ""
        return checks_view(checks), shown

    button.click(on_verify, name, [found, card], api_visibility="private")
    name.submit(on_verify, name, [found, card], api_visibility="private")
