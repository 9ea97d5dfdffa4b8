"""The account to publish with: a sign-in on a Space, and a token at home."""

from __future__ import annotations

from typing import Any

import gradio as gr

from memshield.errors import UserError, collect_errors
from memshield.network import page_of_tokens
from memshield.ui.server.server import Server
from memshield.ui.widgets.problems import problems_view, status_view


def account_row(server: Server) -> None:
    """Lay out the way to sign in, where publishing needs it.

    Args:
        server: the page's server.
    """
    if server.deployment.on_space:
        gr.LoginButton(size="sm", elem_id="sign-in-to-publish")
        return
    with gr.Accordion("Hugging Face account", open=False, elem_id="account"):
        gr.Markdown(
            f"[Make a token]({page_of_tokens()}) with write access, and paste it here. The server "
            "keeps it in memory for a day at most, and in no file. Without one, it uses the token "
            "of `hf auth login`."
        )
        token_input(server, "token")


def token_input(server: Server, id: str) -> Any:
    """Lay out the input of a token, at home.

    Args:
        server: the page's server.
        id: of the input on the page.

    Returns:
        The event after which the token may be known.
    """
    with gr.Row(equal_height=True):
        token = gr.Textbox(
            label="Access token", type="password", max_length=500, scale=3,
            placeholder="hf_…", elem_id=id,
        )  # fmt: skip
        use = gr.Button("Use this token", scale=1)
    answer = gr.HTML(elem_classes=["ms-slot"])

    def on_use(text: object) -> tuple[str, str]:
        errors: list[UserError] = []
        with collect_errors(errors):
            name = server.use_token(text)
            return "", status_view(
                f"Signed in as {name}, for a day at most, or until this server stops."
            )
        return "", problems_view(errors)

    used = gr.on(
        [use.click, token.submit], on_use, token, [token, answer], queue=False,
        api_visibility="private",
    )  # fmt: skip
    return used.then
