"""The page: a head and four tabs: a new training, the runs, use of a model, audits of any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.block_function import BlockFunction
from gradio.components import Component

from memshield import __version__
from memshield.ui.api import NAMES, add_api
from memshield.ui.audits.tab import audits_tab
from memshield.ui.errors import attempt
from memshield.ui.new.tab import new_tab
from memshield.ui.runs.tab import runs_tab
from memshield.ui.server.server import Server
from memshield.ui.use.tab import use_tab

HEAD = (
    "# MemShield\n"
    "Fine-tune a diffusion model on your pictures so that it gives less of them back, measure how "
    "much it gives back, and publish it with that evidence."
)
_VISITOR = (Path(__file__).with_name("widgets") / "visitor.js").read_text(encoding="utf-8")
_UPLOADS = (600, 3600)
"""Every ten minutes, uploads older than an hour are deleted from gradio's folder: those of pages
that were closed during an upload, for all others are moved at once."""
_PRESSES = ("click", "load", "submit", "tick", "upload")
"""Events that count once until they are answered. gradio drops all others as well, by default: who
corrected an input while its first value was looked up saw what belongs to the first."""


def build(server: Server) -> gr.Blocks:
    """Build the page."""
    page: gr.Blocks
    with gr.Blocks(title="MemShield", analytics_enabled=False, delete_cache=_UPLOADS) as page:
        nowhere = gr.State()
        gr.Markdown(HEAD, elem_id="head")
        if server.deployment.warning:
            gr.Markdown(f"**{server.deployment.warning}**")
        if server.deployment.on_space:
            gr.LoginButton(size="sm")
            gr.Markdown(
                "Sign in to train: only you can see your runs, pictures and results. The app may "
                "create repositories for you and write to those; it keeps no token on disk."
            )
        with gr.Tabs() as tabs:
            with gr.Tab("New training", id="train"):
                started, cards = new_tab(server, page)
            with gr.Tab("Runs", id="runs"):
                draw, run = runs_tab(server, page, started)
            with gr.Tab("Use a model", id="use") as using:
                choose, model = use_tab(server, page, using)
            with gr.Tab("Audits", id="audits") as auditing:
                audits_tab(server, page, auditing)

        def greet(token: gr.OAuthToken | None) -> list[Any]:
            """Show the runs first to who has some, and what the ways to start take here."""
            visitor = attempt(lambda: server.visitor(token))  # the tab of runs reports an error
            owner = None if visitor is None else visitor.owner
            if owner is not None:
                server.jobs.places.adopt_soon(owner)
            has_runs = owner is not None and bool(server.jobs.list(owner))
            return [gr.Tabs(selected="runs") if has_runs else gr.skip(), *cards.greet(token)]

        page.load(greet, None, [tabs, *cards.shown], api_visibility="private")
        if server.deployment.on_space:
            _leave_with_the_visitor(page)
        started.change(
            lambda job: gr.Tabs(selected="runs"), started, tabs, api_visibility="private"
        )
        draw(choose, run, model, api_visibility="private").then(
            lambda: gr.Tabs(selected="use"), None, tabs, api_visibility="private"
        )
        gr.Markdown(f"MemShield {__version__}. It lowers memorization as measured; it is not "
                    "differential privacy.")  # fmt: skip
        add_api(server)
    # Including gradio's own handlers, such as the sign-in button's.
    for handler in page.fns.values():
        if handler.api_name not in NAMES:
            handler.api_visibility = "private"
        handler.show_progress_on = _progress_places(handler) or [nowhere]
        if handler.trigger_mode == "once" and any(
            event not in _PRESSES for _, event in handler.targets
        ):
            handler.trigger_mode = "always_last"
    return page


def _leave_with_the_visitor(page: gr.Blocks) -> None:
    """Tell the browser whose page this is, so that a sign-out in another tab takes it away."""
    own = gr.Textbox(visible="hidden")

    def name(profile: gr.OAuthProfile | None) -> str:
        # Not whom the Hub knows: it may not answer, and nothing is given to this name.
        return "" if profile is None else profile.username

    page.load(name, None, own, api_visibility="private").then(
        None, own, None, js=_VISITOR, api_visibility="private"
    )


def _progress_places(handler: BlockFunction) -> list[Component]:
    """The parts of the page that show a handler's progress; [] for none.

    By default all outputs do, even where progress is hidden, and gradio's front end goes through
    them, and through all that a container holds, whenever any handler begins or ends.
    """
    if handler.show_progress == "hidden":
        return []
    places = handler.show_progress_on or handler.outputs
    return [one for one in places if isinstance(one, Component)]
