"""Publishing a run from the page: what would be sent, and sending it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import gradio as gr

from memshield.errors import UserError
from memshield.hub.publication import read_publication
from memshield.hub.publish import Publisher, open_to_publish
from memshield.jobs.view import JobView
from memshield.rundir import RunDir
from memshield.ui.server import Server
from memshield.ui.views.card import card_view
from memshield.ui.views.problems import problems_view, status_view
from memshield.ui.views.publish import plan_view, publication_view


class PublishPart:
    """Lays out publishing, and shows how far it is.

    Args:
        server: see there.
        chosen: id of the job that is looked at.

    Attributes:
        state: how far publishing is.
        preview: what would be published, as it was when somebody asked.
    """

    def __init__(self, server: Server, chosen: gr.Dropdown) -> None:
        self._server = server
        name = gr.Textbox(label="Repository", placeholder="owner/name", elem_id="repository")
        public = gr.Checkbox(label="Everybody may read it", value=False)
        license = gr.Textbox(label="License", placeholder="that of the base; or such as apache-2.0")
        confirm = gr.CheckboxGroup(
            ["no_audit", "cannot_say", "memorization", "license"],
            label="Publish in spite of these warnings",
        )
        with gr.Row():
            preview = gr.Button("Preview")
            publish = gr.Button("Publish", variant="primary")
        self.state = gr.HTML(elem_id="publication")
        self.preview = gr.HTML(elem_id="preview")
        inputs = [chosen, name, public, license, confirm]
        preview.click(self._preview, inputs, self.preview, api_visibility="private")
        publish.click(self._publish, inputs, self.preview, api_visibility="private")

    def _preview(
        self, job: str | None, name: str | None, public: bool, license: str | None,
        confirm: list[str], token: gr.OAuthToken | None,
    ) -> str:  # fmt: skip
        place = Path(tempfile.mkdtemp(prefix="memshield-preview-"))
        try:
            visitor = self._server.visitor(token)
            folder = self._server.run_folder(visitor.require_owner(), job or "")
            run, config = open_to_publish(folder, **_settings(name, public, license, confirm))
            publisher = Publisher(run, config, token=visitor.token)
            destination, _ = publisher.preview(place / "published")
            return plan_view(destination, (), place / "published") + card_view(place / "published")
        except UserError as error:
            return plan_view(None, error)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _publish(
        self, job: str | None, name: str | None, public: bool, license: str | None,
        confirm: list[str], token: gr.OAuthToken | None,
    ) -> str:  # fmt: skip
        try:
            owner = self._server.owner(token)
            changes = _settings(name, public, license, confirm)
            self._server.jobs.publish(owner, job or "", changes)
        except UserError as error:
            return problems_view(error)
        return status_view("Publishing: how far it is stands above.")


def publishing_view(run: RunDir, view: JobView) -> str:
    """How far publishing is."""
    return publication_view(read_publication(run), view.publishing.state == "died")


def _settings(
    name: str | None, public: bool, license: str | None, confirm: list[str]
) -> dict[str, Any]:
    return {
        "hub_model_id": (name or "").strip() or None,
        "hub_private_repo": not public,
        "hub_license": (license or "").strip() or None,
        "hub_confirm": confirm or None,
    }
