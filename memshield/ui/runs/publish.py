"""Publishing a run from the page: what would be sent, and sending it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import gradio as gr

from memshield.config.mitigation import is_plain
from memshield.errors import UserError
from memshield.hub.publish.confirmations import WORDS
from memshield.hub.publish.publishing import Publisher, open_to_publish
from memshield.hub.retries import IMPATIENT
from memshield.jobs.view import JobView, Publishing
from memshield.rundir import RunDir
from memshield.runs.publication import read_publication
from memshield.runs.reports import readable_in
from memshield.ui.runs.comparison import comparable
from memshield.ui.runs.publish_problems import LABELS, on_page, problems_in
from memshield.ui.runs.publish_view import plan_view, publication_view
from memshield.ui.runs.text_inputs import texts_of
from memshield.ui.server.server import Server
from memshield.ui.widgets.card import card_view
from memshield.ui.widgets.fields import RAW
from memshield.ui.widgets.log import log_text_view
from memshield.ui.widgets.problems import problems_view, status_view


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
        # Not prefilled: what comes late would take the place of what is being typed.
        name = gr.Textbox(
            label=LABELS["hub_model_id"],
            placeholder="owner/name; empty: as the run itself was to be published",
            elem_id="repository",
        )
        public = gr.Checkbox(label=LABELS["hub_private_repo"], value=False)
        license = gr.Textbox(
            label=LABELS["hub_license"], placeholder="empty: the run's, or that of the base"
        )
        confirm = gr.CheckboxGroup(
            [(f"{name}: {words}", name) for name, words in WORDS.items()],
            label=LABELS["hub_confirm"],
        )
        with gr.Row():
            preview = gr.Button("Preview")
            publish = gr.Button("Publish", variant="primary")
        self.state = gr.HTML(elem_id="publication")
        self.preview = gr.HTML(elem_id="preview")
        inputs = [chosen, name, public, license, confirm]
        form_of = gr.State("")
        chosen.change(
            _on_change, [chosen, form_of], [*inputs[1:], self.preview, form_of], queue=False,
            api_visibility="private",
        )  # fmt: skip
        preview.click(self._preview, inputs, self.preview, **RAW)
        publish.click(self._publish, inputs, self.preview, **RAW)

    def _preview(
        self, job: str | None, name: object, public: object, license: object, confirm: object,
        token: gr.OAuthToken | None,
    ) -> str:  # fmt: skip
        try:
            visitor = self._server.visitor(token)
            owner = visitor.require_owner()
            folder = self._server.run_folder(owner, job or "")
            if not RunDir(folder).model.is_dir():
                raise UserError("job", "it has no model yet", "Train it to its end first.")
            run, config = open_to_publish(folder, **_settings(name, public, license, confirm))
            beside = [f"{shown}={self._server.run_folder(owner, id)}"
                      for shown, id in self._beside(owner, job or "").items()]  # fmt: skip
        except UserError as error:
            return plan_view(None, self._told(error))
        publisher = Publisher(run, config, beside, visitor.token, patience=IMPATIENT)
        # On the run's own disk weights are linked, not copied.
        place = Path(tempfile.mkdtemp(prefix=".preview-", dir=run.path.parent))
        try:
            destination, _ = publisher.preview(place / "published")
            return plan_view(destination, (), place / "published") + card_view(place / "published")
        except UserError as error:
            return plan_view(None, self._told(error)) + _draft_view(publisher, place / "draft")
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _publish(
        self, job: str | None, name: object, public: object, license: object, confirm: object,
        token: gr.OAuthToken | None,
    ) -> str:  # fmt: skip
        try:
            owner = self._server.owner(token)
            changes = _settings(name, public, license, confirm)
            self._server.jobs.publish(owner, job or "", changes, self._beside(owner, job or ""))
        except UserError as error:
            return problems_view(self._told(error))
        return status_view("Publishing: how far it is stands above.")

    def _told(self, error: UserError) -> list[UserError]:
        return on_page(error, self._server.place.on_space)

    def _beside(self, owner: str, id: str) -> dict[str, str]:
        """The plain training of the same pictures, for the card to show what was gained by."""
        job = self._server.jobs.get(owner, id)
        audited = readable_in(self._server.jobs.folders.run(job).audit_of(None))
        if audited is None or is_plain(self._server.jobs.config(owner, id).model_dump()):
            return {}
        others = comparable(self._server.jobs, owner, job, audited)
        newest = next((one.id for one in others if one.plain), None)
        return {} if newest is None else {"plain": newest}


def _draft_view(publisher: Publisher, folder: Path) -> str:
    """The card all the same, for who has no account, no name for it or no network yet."""
    try:
        publisher.draft(folder)
    except UserError:  # what stands in the way has been said
        return ""
    return status_view("This is the card as it stands.") + card_view(folder)


def _on_change(job: str | None, form_of: str) -> list[Any]:
    """Nothing that was meant for one run is left in the inputs of another."""
    if not job or job == form_of:
        return [gr.skip()] * 6
    if not form_of:  # the first run that this tab shows: the inputs are nobody's yet
        return [*[gr.skip()] * 5, job]
    return ["", False, "", [], "", job]


def publishing_view(run: RunDir, view: JobView, on_space: bool = False) -> str:
    """How far publishing is, and why the last attempt came to nothing."""
    told, side = read_publication(run), view.publishing
    ended: Literal["died", "stopped"] | None = None
    if side.state not in ("running", "stopping"):
        ended = "stopped" if side.state == "stopped" else "died"
    return _failed_view(told, side) + publication_view(told, ended, problems_in(told, on_space))


def _failed_view(told: Mapping[str, Any], side: Publishing) -> str:
    """What publish.json does not say: that an attempt did not get as far as writing there."""
    if side.state not in ("failed", "died", "needs_sign_in") or not side.reason:
        return ""
    if told.get("state") == "failed" and told.get("reason") == side.reason:
        return ""
    if told.get("state") == "running" and side.state == "died":
        return ""
    shown = problems_view(UserError("Publishing", side.reason), title=side.words)
    return shown + log_text_view("\n".join(side.last_lines)) if side.last_lines else shown


def _settings(name: object, public: object, license: object, confirm: object) -> dict[str, Any]:
    """From the inputs, of any type; what is empty is the run's own.

    Only what is said plainly is public, or confirmed.
    """
    named = {"hub_model_id": _text(name), "hub_license": _text(license)}
    return {
        **{setting: value for setting, value in named.items() if value is not None},
        "hub_private_repo": public is not True,
        "hub_confirm": [one for one in texts_of(confirm) if one in WORDS] or None,
    }


def _text(value: object) -> str | None:
    return value.strip()[:500] or None if isinstance(value, str) else None
