"""The page: a head, and three places to be: a new training, the runs, a published model."""

from __future__ import annotations

from typing import Any

import gradio as gr

from memshield import __version__
from memshield.errors import UserError
from memshield.ui.api import NAMES, add_api
from memshield.ui.new.tab import train_tab
from memshield.ui.runs.tab import runs_tab
from memshield.ui.server.server import Server
from memshield.ui.use.tab import use_tab

HEAD = (
    "# MemShield\n"
    "Fine-tune a diffusion model on your pictures so that it gives less of them back, measure how "
    "much it does, and publish it with that evidence."
)
_UPLOADS = (600, 3600)
"""Every ten minutes, what has lain for an hour where gradio puts uploads is deleted: what is taken
is gone at once, but whoever closes the page in the middle of an upload leaves it there."""


def build(server: Server) -> gr.Blocks:
    """All of the page."""
    page: gr.Blocks
    with gr.Blocks(title="MemShield", analytics_enabled=False, delete_cache=_UPLOADS) as page:
        gr.Markdown(HEAD, elem_id="head")
        if server.place.warning:
            gr.Markdown(f"**{server.place.warning}**")
        if server.place.on_space:
            gr.LoginButton(size="sm")
            gr.Markdown(
                "Sign in to train: your runs, pictures and results are yours alone. The app may "
                "create repositories for you and write to those; it keeps no token on disk."
            )
        with gr.Tabs() as tabs:
            with gr.Tab("New training", id="train"):
                started = train_tab(server, page)
            with gr.Tab("Runs", id="runs"):
                runs_tab(server, page, started)
            with gr.Tab("Use a model", id="use"):
                use_tab(server, page)

        def where(token: gr.OAuthToken | None) -> Any:
            """What is under way is seen first, also when gradio reloads tabs of an old server."""
            try:
                owner = server.visitor(token).owner
            except UserError:  # the runs say so
                return gr.skip()
            busy = owner is not None and any(job.current for job in server.jobs.list(owner))
            return gr.Tabs(selected="runs") if busy else gr.skip()

        page.load(where, None, tabs, api_visibility="private")
        started.change(
            lambda job: gr.Tabs(selected="runs"), started, tabs, api_visibility="private"
        )
        gr.Markdown(f"MemShield {__version__}. It lowers memorization as measured; it is not "
                    "differential privacy.")  # fmt: skip
        add_api(server)
    # Also those that gradio adds by itself, such as the sign-in button's.
    for handler in page.fns.values():
        if handler.api_name not in NAMES:
            handler.api_visibility = "private"
    return page
