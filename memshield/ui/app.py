"""Starting the page."""

from __future__ import annotations

import logging
import os
import sys

from starlette.middleware import Middleware

from memshield.errors import UserError
from memshield.hub.session import use_one_client
from memshield.redaction import guard_logging, redact
from memshield.ui.server.deployment import find_place

PORT = 7860
AT_ONCE = 8
"""Visitors that may wait for the same handler."""


def main() -> None:
    """Open the jobs, start what waits, and serve the page until the process is ended."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_UPDATE_DOWNLOAD_COUNTS", "0")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    use_one_client()
    try:
        place = find_place()
        from memshield.ui.page import build
        from memshield.ui.server.no_downloads import NoDownloads
        from memshield.ui.server.server import Server
        from memshield.ui.server.sign_in import SignedInUploads, SigningOut
        from memshield.ui.theme import CSS, HEAD, theme

        server = Server.open(place)
    except UserError as error:
        sys.exit(redact(str(error)))
    guard_logging()
    server.jobs.scheduler.run()
    before = [
        Middleware(SignedInUploads),
        Middleware(NoDownloads),
        Middleware(SigningOut, forget=server.sign_out),
    ]
    page = build(server)
    # Handlers wait for the Hub: by default gradio lets one visitor at a time wait for each.
    page.queue(default_concurrency_limit=AT_ONCE)
    # On a Space, gradio's front end would fetch Google's fonts and ask the Hub for a header.
    page.space_id = None
    # Of every interface only in a container, whose address nobody else can know.
    host = os.environ.get("GRADIO_SERVER_NAME") or ("0.0.0.0" if place.on_space else "127.0.0.1")
    try:
        page.launch(
            server_name=host,
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
            app_kwargs={"middleware": before} if place.on_space else None,
        )
    finally:
        server.jobs.close()
