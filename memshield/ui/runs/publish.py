"""The panel that previews what would be published of a run, and publishes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import gradio as gr

from memshield.config.mitigation import is_plain
from memshield.errors import UserError, UserErrors, collect_errors
from memshield.hub.consent import CONSENTS, NAMES
from memshield.hub.publish.publishing import Publisher, open_to_publish
from memshield.hub.refusals import noted
from memshield.hub.retries import IMPATIENT
from memshield.jobs.view import JobView, Publishing
from memshield.rundir import RunDir
from memshield.runs.publication import read_publication
from memshield.runs.reports import readable_in
from memshield.ui.errors import attempt
from memshield.ui.runs.account import account_row
from memshield.ui.runs.comparison import comparable
from memshield.ui.runs.publish_problems import LABELS, on_page, problems_in
from memshield.ui.runs.publish_view import plan_view, publication_view
from memshield.ui.runs.text_inputs import unique_texts
from memshield.ui.server.server import Server
from memshield.ui.widgets.card import card_view
from memshield.ui.widgets.fields import AGAIN, RAW
from memshield.ui.widgets.log import log_text_view
from memshield.ui.widgets.problems import problems_view, status_view


class PublishPanel:
    """Lays out the panel, and answers its buttons.

    Args:
        server: the page's server.
        chosen: id of the shown job.

    Attributes:
        state: shows the progress of publishing.
        preview: shows the last preview, or why it was refused.
    """

    def __init__(self, server: Server, chosen: gr.Textbox) -> None:
        self._server = server
        # Not prefilled: a late answer would overwrite what somebody types.
        name = gr.Textbox(
            label=LABELS["hub_model_id"],
            placeholder="owner/name; empty: the run's own setting",
            elem_id="repository",
        )
        public = gr.Checkbox(label=LABELS["hub_private_repo"], value=False)
        license = gr.Textbox(
            label=LABELS["hub_license"],
            placeholder="empty: the run's own setting, or the base's license",
        )
        # Shown where a warning applies: a box to tick in advance is one that nobody reads.
        self.confirm = confirm = gr.CheckboxGroup(
            [], label=LABELS["hub_confirm"], visible=False, elem_id="confirm"
        )
        account_row(server)
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
        previewed = gr.State("")
        preview.click(
            self._preview, inputs, [self.preview, confirm, previewed], **RAW, **AGAIN
        ).then(
            _keep_if_shown, [chosen, previewed], [self.preview, confirm], queue=False, **RAW
        )  # fmt: skip
        publish.click(self._publish, inputs, self.preview, **RAW)

    def _preview(
        self, job: str | None, name: object, public: object, license: object, confirm: object,
        token: gr.OAuthToken | None,
    ) -> tuple[str, Any, str | None]:  # fmt: skip
        errors: list[UserError] = []
        with collect_errors(errors):
            visitor = self._server.visitor(token)
            owner = visitor.require_owner()
            folder = self._server.run_folder(owner, job or "")
            if not RunDir(folder).model.is_dir():
                raise UserError("job", "it has no model yet", "Finish its training first.")
            run, config = open_to_publish(folder, **_settings(name, public, license, confirm))
            beside = [f"{shown}={self._server.run_folder(owner, id)}"
                      for shown, id in self._beside(owner, job or "").items()]  # fmt: skip
            publisher = Publisher(run, config, beside, visitor.token, patience=IMPATIENT)
            # On the run's own disk weights are linked, not copied.
            with TemporaryDirectory(
                prefix=".preview-", dir=run.path.parent, ignore_cleanup_errors=True
            ) as place:
                return *self._preview_in(publisher, Path(place), unique_texts(confirm)), job
        return plan_view(None, self._problems(errors)), gr.skip(), job

    def _preview_in(self, publisher: Publisher, place: Path, agreed: list[str]) -> tuple[str, Any]:
        """Assemble the published folder; if that is refused, show why, and a draft of the card."""
        errors: list[UserError] = []
        with collect_errors(errors):
            destination, _ = publisher.preview(place / "published")
            shown = plan_view(destination, (), place / "published")
            return shown + card_view(place / "published"), gr.skip()
        # The draft needs no account, no name of a repository and no network.
        drafted = attempt(lambda: publisher.draft(place / "draft"))
        refused = plan_view(None, self._problems(errors))
        if drafted is not None:
            refused += status_view("This is the card as it stands.") + card_view(place / "draft")
        warnings = [one["warning"] for one in noted(UserErrors(errors))]
        return refused, consents((*warnings, *agreed))

    def _publish(
        self, job: str | None, name: object, public: object, license: object, confirm: object,
        token: gr.OAuthToken | None,
    ) -> str:  # fmt: skip
        errors: list[UserError] = []
        with collect_errors(errors):
            owner = self._server.owner(token)
            changes = _settings(name, public, license, confirm)
            self._server.jobs.publish(owner, job or "", changes, self._beside(owner, job or ""))
            return status_view("Its state is shown above.")
        return problems_view(self._problems(errors))

    def _problems(self, errors: list[UserError]) -> list[UserError]:
        return on_page(UserErrors(errors), self._server.deployment.on_space)

    def _beside(self, owner: str, id: str) -> dict[str, str]:
        """Find the plain training on the same pictures, with which the card compares the run."""
        job = self._server.jobs.get(owner, id)
        audited = readable_in(self._server.jobs.folders.run(job).audit_of(None))
        if audited is None or is_plain(self._server.jobs.config(owner, id).model_dump()):
            return {}
        others = comparable(self._server.jobs, owner, job, audited)
        newest = next((one.id for one in others if one.plain), None)
        return {} if newest is None else {"plain": newest}


def _keep_if_shown(job: str | None, previewed: str | None) -> list[Any]:
    """Take a preview away if another run has been chosen meanwhile."""
    return [gr.skip(), gr.skip()] if job == previewed else ["", consents(())]


def _on_change(job: str | None, form_of: str) -> list[Any]:
    """Empty the inputs for another run."""
    if not job or job == form_of:
        return [gr.skip()] * 6
    if not form_of:  # the first run shown: the inputs belong to no other run yet
        return [*[gr.skip()] * 5, job]
    return ["", False, "", consents(()), "", job]


def consents(warnings: Iterable[object]) -> Any:
    """The boxes of the warnings that apply; hidden where there is none.

    Args:
        warnings: their names; others are ignored.
    """
    named = set(warnings)
    choices = [(consent.asked, name) for name, consent in CONSENTS.items() if name in named]
    if not choices:
        return gr.update(choices=[], value=[], visible=False)
    return gr.update(choices=choices, visible=True)


def consents_of(run: RunDir) -> Any:
    """The boxes of the warnings that the last publication of a run failed for.

    Where it failed for something else, those stay that were shown.
    """
    values = read_publication(run)
    problems = values.get("problems")
    listed = problems if isinstance(problems, list) else []
    warnings = [one.get("warning") for one in listed if isinstance(one, dict)]
    if values.get("state") == "done" or any(warnings):
        return consents(warnings)
    return gr.skip()


def publishing_view(run: RunDir, view: JobView, on_space: bool = False) -> str:
    """Show the progress of publishing, and why the last attempt failed."""
    record, side = read_publication(run), view.publishing
    ended: Literal["died", "stopped"] | None = None
    if side.state not in ("running", "stopping"):
        ended = "stopped" if side.state == "stopped" else "died"
    return _failed_view(record, side) + publication_view(
        record, ended, problems_in(record, on_space)
    )


def _failed_view(record: Mapping[str, Any], side: Publishing) -> str:
    """Show a failure before publish.json was written, which that file does not tell."""
    if side.state not in ("failed", "died", "needs_sign_in") or not side.reason:
        return ""
    if record.get("state") == "failed" and record.get("reason") == side.reason:
        return ""
    if record.get("state") == "running" and side.state == "died":
        return ""
    shown = problems_view(UserError("Publishing", side.reason), title=side.words)
    return shown + log_text_view("\n".join(side.last_lines)) if side.last_lines else shown


def _settings(name: object, public: object, license: object, confirm: object) -> dict[str, Any]:
    """Read the inputs, of any type; an empty one means the run's own setting.

    Only an explicit True makes a repository public.
    """
    named = {"hub_model_id": _text(name), "hub_license": _text(license)}
    return {
        **{setting: value for setting, value in named.items() if value is not None},
        "hub_private_repo": public is not True,
        "hub_confirm": [one for one in unique_texts(confirm) if one in NAMES] or None,
    }


def _text(value: object) -> str | None:
    return value.strip()[:500] or None if isinstance(value, str) else None
