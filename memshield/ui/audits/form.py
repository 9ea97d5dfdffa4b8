"""The inputs of an audit: the model, the pictures that it was trained on, and others."""

from __future__ import annotations

from typing import Any

import gradio as gr

from memshield.data.source import SourceSettings, open_upload
from memshield.errors import UserError, UserErrors
from memshield.jobs.model_audit_check import NOTHING_HELD_OUT
from memshield.ui.audits.asked import (
    BY_NAME,
    HELD_UPLOAD,
    NONE,
    OTHER,
    SHARE,
    SPLIT,
    UPLOAD,
)
from memshield.ui.audits.audited import PROMPT_WORDS
from memshield.ui.audits.uploads import keep_upload, uploaded
from memshield.ui.errors import on_error
from memshield.ui.new.descriptions import own_view
from memshield.ui.new.tray_view import added_view
from memshield.ui.server.server import Server
from memshield.ui.widgets.fields import QUIET, RAW, Fields
from memshield.ui.widgets.problems import problem_view, status_view

_HELD = [
    ("None that I know of", NONE),
    ("A share of the same dataset", SHARE),
    ("Another split of it", SPLIT),
    ("Another dataset", OTHER),
    ("Pictures that I upload", HELD_UPLOAD),
]
_WITH = status_view(
    "They say what happens by chance: 300 and more are good, and with fewer than 60 the report "
    "cannot tell copies from chance."
)
_WITHOUT = status_view(NOTHING_HELD_OUT)
_UPLOADS_AT_ONCE = 2
_PREFIX = "audit-"
"""Names of fields are ids on the page, where the form of a training has some of these."""


class AuditForm:
    """Lays out the inputs.

    Args:
        server: the page's server.

    Attributes:
        fields: the inputs and their problems.
        states: names of the visitor's uploads, by field.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self.fields = Fields("audit")
        self.states: dict[str, gr.State] = {}
        self._here = "" if server.deployment.on_space else ", or a folder on this computer"
        self._lay_out_model()
        self._lay_out_training()
        self._lay_out_held_out()
        with gr.Accordion("Prompts and number of pictures", open=False), gr.Row():
            self._text("num_images", "Pictures to generate", "by the size of the set")
            self.fields.add(f"{_PREFIX}prompts", "Prompts", lambda: gr.Dropdown(
                [(words, name) for name, words in PROMPT_WORDS.items()], value="train",
                label="Prompts", info="For models that take them."))  # fmt: skip

    def _text(self, name: str, label: str, placeholder: str = "", info: str = "") -> Any:
        return self.fields.add(_PREFIX + name, label, lambda: gr.Textbox(
            label=label, placeholder=placeholder, info=info or None, max_length=4096,
            elem_id=f"audit-{name}",
            html_attributes=gr.InputHTMLAttributes(
                autocapitalize="off", autocorrect="off", spellcheck=False, autocomplete="off"),
        ))  # fmt: skip

    def _lay_out_model(self) -> None:
        gr.Markdown("### The model")
        self._text(
            "model", "Model to audit", "owner/name",
            f"A diffusers pipeline or a LoRA on the Hub{self._here}. Only safetensors are read.",
        )  # fmt: skip
        with gr.Accordion("It is a LoRA", open=False), gr.Row():
            self._text("base", "Base", "as its card says", "The pipeline that it goes on.")
            self._text("weight_name", "File", "where it has several")

    def _lay_out_training(self) -> None:
        gr.Markdown("### Pictures that it was trained on")
        where = self.fields.add(f"{_PREFIX}where", "Training pictures", lambda: gr.Radio(
            [("A dataset", BY_NAME), ("Pictures that I upload", UPLOAD)], value=BY_NAME,
            label="Training pictures", show_label=False))  # fmt: skip
        with gr.Column() as named:
            self._text("dataset", "Training dataset", "owner/name", f"On the Hub{self._here}.")
            with gr.Accordion("Configuration, split and columns", open=False), gr.Row():
                self._text("dataset_config", "Configuration", "its default")
                self._text("split", "Split", "train")
                self._text("image_column", "Column of pictures", "found by itself")
                self._text("caption_column", "Column of captions", "found by itself")
        with gr.Column(visible=False) as sent:
            self._upload("training", "Training pictures")
        where.change(
            lambda one: [gr.Column(visible=one != UPLOAD), gr.Column(visible=one == UPLOAD)],
            where, [named, sent], **QUIET,
        )  # fmt: skip

    def _lay_out_held_out(self) -> None:
        gr.Markdown("### Pictures that it was not trained on")
        held = self.fields.add(f"{_PREFIX}held", "Held-out pictures", lambda: gr.Radio(
            _HELD, value=NONE, label="Held-out pictures", show_label=False))  # fmt: skip
        told = gr.HTML(_WITHOUT)
        with gr.Column(visible=False) as share:
            self.fields.add(f"{_PREFIX}held_out_share", "Percent held out", lambda: gr.Number(
                20, label="Percent held out", info="The last rows of the dataset, if you know "
                "that the model was not trained on these.", elem_id="audit-share"))  # fmt: skip
        with gr.Column(visible=False) as other:
            self._text("held_out", "Held-out dataset", "owner/name", f"On the Hub{self._here}.")
        with gr.Column(visible=False) as split:
            self._text("held_out_split", "Held-out split", "such as test")
        with gr.Column(visible=False) as sent:
            self._upload("held_upload", "Held-out pictures")

        def on_held(one: object) -> list[Any]:
            return [
                _WITHOUT if one == NONE else _WITH,
                gr.Column(visible=one == SHARE),
                gr.Column(visible=one == OTHER),
                gr.Column(visible=one in (SPLIT, OTHER)),
                gr.Column(visible=one == HELD_UPLOAD),
            ]

        held.change(on_held, held, [told, share, other, split, sent], **QUIET)

    def _upload(self, name: str, label: str) -> None:
        self.states[name] = gr.State("")
        with self.fields.place(_PREFIX + name, label):
            files = gr.File(
                label="Add pictures, or zips of them; captions as metadata.csv (file_name, text)",
                file_count="multiple",
                height=160,
            )
        shown = gr.HTML(elem_id=f"sent-{name}", elem_classes=["ms-slot"])

        # The box is emptied: the files it lists have been moved.
        @on_error(lambda error: [gr.skip(), problem_view(error), gr.skip(), None])
        def on_upload(sent: object, earlier: object, token: gr.OAuthToken | None) -> list[Any]:
            uploads = self._server.jobs.folders.uploads(self._server.owner(token))
            kept, added = keep_upload(sent, uploads, earlier)
            useless = not (added.added or added.already or added.captioned)
            if useless and added.left_out:
                raise UserErrors([UserError(name, one) for one in added.left_out])
            folder = str(uploaded(uploads, kept))
            source = open_upload(SourceSettings(train_data_dir=folder))
            return [kept, "", added_view(added) + own_view(source), None]

        files.upload(
            on_upload, [files, self.states[name]],
            [self.states[name], self.fields.slots[_PREFIX + name], shown, files], **RAW,
            concurrency_limit=_UPLOADS_AT_ONCE,
        )  # fmt: skip

    def values(self, given: dict[Any, Any]) -> dict[str, object]:
        """The values of all inputs, by name; `given` is by input."""
        values = self.fields.values(given[self.fields.sent])
        uploads = {name: given[state] for name, state in self.states.items()}
        return {**{name.removeprefix(_PREFIX): value for name, value in values.items()}, **uploads}

    def errors(self, error: UserError) -> list[UserError]:
        """The problems by the names that their fields have here."""
        return [
            one.moved(_PREFIX + one.field) if _PREFIX + one.field in self.fields.slots else one
            for one in UserErrors([error]).errors
        ]

    @property
    def inputs(self) -> set[Any]:
        """All inputs."""
        return {self.fields.sent, *self.states.values()}
