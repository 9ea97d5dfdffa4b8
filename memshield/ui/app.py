"""Starts the page."""

from __future__ import annotations

import logging
import os
import sys

from memshield.errors import UserError
from memshield.hub.session import use_one_client
from memshield.redaction import guard_logging, redact
from memshield.ui.server.deployment import find_deployment

PORT = 7860
AT_ONCE = 8
"""Visitors that the same handler may serve at once."""


def main() -> None:
    """Open the jobs, start waiting ones, and serve the page until the process ends."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    # After every event gradio summarizes the last 10,000 for a dashboard that is not served here:
    # tens of milliseconds each time, of a page with a hundred handlers.
    os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")
    os.environ.setdefault("HF_UPDATE_DOWNLOAD_COUNTS", "0")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    use_one_client()
    try:
        deployment = find_deployment()
        from memshield.ui.page import build
        from memshield.ui.server.application import application
        from memshield.ui.server.server import Server
        from memshield.ui.theme import CSS, HEAD, theme

        server = Server.open(deployment)
    except UserError as error:
        sys.exit(redact(str(error)))
    guard_logging()
    server.jobs.scheduler.run()
    page = build(server)
    # Handlers wait for the Hub, and by default gradio runs each for one visitor at a time.
    page.queue(default_concurrency_limit=AT_ONCE)
    # With an id, gradio's front end would fetch Google's fonts and the Hub's header on a Space.
    page.space_id = None
    # All interfaces only in a Space's container, whose address is private.
    default_host = "0.0.0.0" if deployment.on_space else "127.0.0.1"
    try:
        page.launch(
            server_name=os.environ.get("GRADIO_SERVER_NAME") or default_host,
            server_port=int(os.environ.get("GRADIO_SERVER_PORT") or PORT),
            theme=theme(),
            css=CSS,
            head=HEAD,
            footer_links=["api"],
            run_history=False,
            show_error=False,
            ssr_mode=False,
            max_file_size="200mb",
            enable_monitoring=False,
            share=False,
            _app=application(server),
        )
    finally:
        server.jobs.close()
