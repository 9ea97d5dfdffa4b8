"""Starts the page."""

from __future__ import annotations

import logging
import os
import socket
import sys

from memshield.errors import UserError
from memshield.hub.session import use_one_client
from memshield.redaction import guard_logging, redact
from memshield.ui.server.deployment import find_deployment

PORT = 7860
AT_ONCE = 8
"""Visitors that the same handler may serve at once."""


def find_port(host: str) -> int:
    """The port to serve the page on, which nobody else uses.

    Raises:
        UserError: it is none, or is taken.
    """
    name, text = "GRADIO_SERVER_PORT", os.environ.get("GRADIO_SERVER_PORT") or str(PORT)
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 2**16):
        raise UserError(name, f"{text[:40]!r} is no port", "Give a number such as 7861.")
    try:
        # As the server binds it: what waits for the system to forget it is free.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, int(text)), family=family):
            pass
    except OSError as error:
        why = os.strerror(error.errno).lower() if error.errno else str(error)
        raise UserError(
            name,
            f"the page cannot be at {host}:{text}: {why}",
            "If the page runs there already, open it in the browser; else choose another port.",
        ) from None
    return int(text)


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
        # All interfaces only in a Space's container, whose address is private.
        host = os.environ.get("GRADIO_SERVER_NAME") or (
            "0.0.0.0" if deployment.on_space else "127.0.0.1"
        )
        port = find_port(host)
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
    try:
        page.launch(
            server_name=host,
            server_port=port,
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
