"""The picture tray on the page: takes files, shows them, and answers its buttons."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from memshield.errors import UserError
from memshield.quantities import plural
from memshield.ui.errors import on_error
from memshield.ui.form.recipes import RecipeName
from memshield.ui.new.descriptions import duplicates_view
from memshield.ui.new.recipe_choice import is_mirrored
from memshield.ui.new.tray_view import (
    Showing,
    added_view,
    head_view,
    pictures_view,
    show,
    tray_pairs,
    within,
)
from memshield.ui.new.uploads.adding import Added, add_files
from memshield.ui.new.uploads.browser_files import uploaded_files
from memshield.ui.new.uploads.files import FIELD
from memshield.ui.new.uploads.tray import Tray, copies, is_picture_id
from memshield.ui.server.server import Server
from memshield.ui.widgets.fields import QUIET, RAW, Fields
from memshield.ui.widgets.problems import problem_view, status_view

_SCRIPT = Path(__file__).with_name("tray.js").read_text(encoding="utf-8")
_UPLOADS_AT_ONCE = 2
"""Each takes a core while it decodes."""
_MOST_CAPTIONS = 100
"""In one message; a page shows fewer."""
_LABEL = "Add pictures, or zips of them"
_HINT = (
    "For captions, type below, or add a `metadata.csv` (file_name, text) or a text file of each "
    "picture's name, now or later."
)


class TrayBox:
    """Lays out the tray.

    Args:
        server: the page's server.
        fields: takes the tray.
        name: of the field.

    Attributes:
        upload: name of the visitor's tray, which changes with it; "" while it is empty.
    """

    def __init__(self, server: Server, fields: Fields, name: str) -> None:
        self._server = server
        self._name = name
        self.upload = gr.State("")
        self._showing = gr.State(Showing())
        self._compared = gr.State("")
        with fields.place(name, "Your pictures"):
            self._files = gr.File(label=_LABEL, file_count="multiple", height=160)
            gr.Markdown(_HINT)
        self._problem = fields.slots[name]
        slot = ["ms-slot"]
        self._said = gr.HTML(elem_id="tray-said", elem_classes=slot)
        self._head = gr.HTML(elem_id="uploaded", elem_classes=slot, js_on_load=_SCRIPT)
        self._shown = gr.HTML(elem_id="tray", elem_classes=slot, js_on_load=_SCRIPT)
        self._pairs = gr.HTML(elem_id="upload-pairs", elem_classes=slot)

    def answer(self, settings: Sequence[Any], where: Any) -> None:
        """Answer uploads and buttons.

        Args:
            settings: inputs of `duplicates`, of `random_flip`, and of the recipe's name.
            where: choice of where the pictures come from.
        """
        tray = [self._problem, self._said, self.upload, self._showing, self._head, self._shown]
        pairs: dict[str, Any] = {
            "fn": self._on_pairs,
            "inputs": [self.upload, *settings, self._compared],
            "outputs": [self._compared, self._pairs],
            "concurrency_limit": _UPLOADS_AT_ONCE,
            **QUIET,
        }
        # gradio itself shows its refusal of an upload without a sign-in for a moment only.
        where.change(self._on_place, [where, self._showing], tray, **QUIET).then(**pairs)
        self._files.upload(
            self._on_upload, [self._files, self._showing], [*tray, self._files], **RAW,
            concurrency_limit=_UPLOADS_AT_ONCE,
        ).then(**pairs)  # fmt: skip
        # By default gradio drops what is pressed before the answer to the last press: each counts,
        # in its order, which gradio keeps for all visitors together only.
        for box in (self._head, self._shown):
            box.act(
                self._on_act, self._showing, tray, **QUIET, trigger_mode="multiple",
                concurrency_limit=1, concurrency_id="tray",
            ).success(**pairs)  # fmt: skip

    def _tray(self, token: gr.OAuthToken | None) -> Tray:
        return Tray(self._server.jobs.folders.uploads(self._server.owner(token)))

    @on_error(lambda error: [problem_view(error), "", "", Showing(), "", ""])
    def _on_place(self, place: object, showing: Showing, token: gr.OAuthToken | None) -> list[Any]:
        """Show what is in the tray since an earlier visit."""
        if place != self._name:
            return [gr.skip()] * 6
        return ["", "", *_shown(self._tray(token), showing)]

    # The box is emptied: the files it lists have been moved.
    @on_error(lambda error: [problem_view(error), *[gr.skip()] * 5, None])
    def _on_upload(self, sent: object, showing: Showing, token: gr.OAuthToken | None) -> list[Any]:
        with uploaded_files(sent) as paths:
            tray = self._tray(token)
            if not paths and not tray.pictures():
                raise UserError(FIELD, "no files were uploaded", "Choose pictures, or a zip.")
            home = self._server.jobs.folders.uploads(self._server.owner(token))
            # Without any, they were sent twice, and taken already.
            added = add_files(paths, home) if paths else Added(0, 0, 0, ())
        useless = not (added.added or added.already or added.captioned)
        problems = [UserError(FIELD, one) for one in added.left_out] if useless else []
        said = "" if useless else added_view(added)
        return [problem_view(problems) if problems else "", said, *_shown(tray, showing), None]

    @on_error(lambda error: [problem_view(error), "", *[gr.skip()] * 4])
    def _on_act(
        self, showing: Showing, event: gr.EventData, token: gr.OAuthToken | None
    ) -> list[Any]:
        """Carry out what a button of the tray, or a caption, asks for."""
        asked: Mapping[str, Any] = event._data if isinstance(event._data, Mapping) else {}
        tray, said = self._tray(token), ""
        what, captions = asked.get("do"), asked.get("captions")
        if isinstance(captions, Mapping) and len(captions) <= _MOST_CAPTIONS:
            known = {id: text for id, text in captions.items()
                     if is_picture_id(id) and isinstance(text, str)}  # fmt: skip
            changed = tray.describe(known)
            if changed and what == "caption":
                said = f"Caption of {changed[0].name} saved."
                if len(changed) > 1:
                    said = f"{plural(len(changed), 'caption')} saved."
        if what == "remove" and is_picture_id(asked.get("id")):
            removed = tray.remove([asked["id"]])
            said = f"{removed[0].name} removed." if removed else ""
        elif what == "drop":
            removed = tray.remove(copies(tray.pictures()))
            said = f"{plural(len(removed), 'copy', 'copies')} left out." if removed else ""
        elif what == "clear":
            removed = tray.remove(one.id for one in tray.pictures())
            said = f"{plural(len(removed), 'picture')} removed." if removed else ""
        elif what == "show":
            showing = show(asked.get("which")) or showing
        elif what == "page" and re.fullmatch(r"[0-9]{1,9}", str(asked.get("page", ""))):
            showing = replace(showing, page=int(asked["page"]))
        outputs = ["", status_view(said) if said else "", *_shown(tray, showing)]
        if what in ("remove", "drop", "clear") and not said:
            outputs[1] = gr.skip()  # pressed twice: what the first press did still stands
        if what == "caption":
            outputs[-1] = gr.skip()  # the boxes hold their captions already
        return outputs

    @on_error(lambda error: ["", ""])  # the field's problem, if any, is shown already
    def _on_pairs(
        self,
        name: str,
        setting: object,
        flips: object,
        recipe: RecipeName,
        compared: str,
        token: gr.OAuthToken | None,
    ) -> list[Any]:
        """Show duplicates, unless they are shown already."""
        if not name:
            return ["", ""]
        tray = self._tray(token)
        pictures = tray.pictures()
        mirrored = is_mirrored(flips, recipe)
        now = f"{setting} {mirrored} {hash(tuple(one.id for one in pictures))}"
        if now == compared:
            return [gr.skip()] * 2
        return [now, duplicates_view(tray_pairs(tray, pictures, mirrored), setting)]


def _shown(tray: Tray, showing: Showing) -> list[Any]:
    """The outputs of a tray: its name, what is shown of it, and the views."""
    pictures = tray.pictures()
    showing = within(pictures, showing)
    return [
        tray.name(),
        showing,
        head_view(pictures, showing),
        pictures_view(tray, pictures, showing),
    ]
