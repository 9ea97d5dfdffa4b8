"""Pictures of one's own: uploaded, or at home those of a folder; what is seen of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from memshield.errors import UserError
from memshield.forecast.duplicates import duplicate_pairs, open_folder
from memshield.ui.new.local_folder import find_folder
from memshield.ui.new.own_pictures_view import duplicates_view, own_view
from memshield.ui.new.uploads.browser_files import received
from memshield.ui.new.uploads.store import accept_upload, find_upload
from memshield.ui.server.server import Server
from memshield.ui.widgets.fields import QUIET, RAW, Fields
from memshield.ui.widgets.problems import problem_view

UPLOAD, FOLDER = "upload", "folder"
_SIDE_BY_SIDE = 2
"""Comparisons at once: each takes a core for up to twenty seconds."""


def upload_pictures(server: Server, fields: Fields, duplicates: Any, where: Any) -> gr.State:
    """Lay the upload out.

    Args:
        server: see there.
        fields: takes it.
        duplicates: input of that setting.
        where: choice of where pictures come from.

    Returns:
        The name of the visitor's upload; "" for none.
    """
    upload = gr.State("")
    with fields.place(UPLOAD, "Your pictures"):
        files = gr.File(
            label="Pictures, or a zip of them; with metadata.csv (file_name, text) for captions",
            file_count="multiple",
            height=200,
        )
    shown, pairs = (
        gr.HTML(elem_id="uploaded", elem_classes=["ms-slot"]),
        gr.HTML(elem_id="upload-pairs", elem_classes=["ms-slot"]),
    )

    def on_choice(place: object, token: gr.OAuthToken | None) -> str:
        # Else the words would be gone with gradio's refusal, which stands there for a moment.
        try:
            if place == UPLOAD:
                server.owner(token)
        except UserError as error:
            return problem_view(_at(error, UPLOAD), UPLOAD)
        return ""

    def on_upload(sent: object, had: str, token: gr.OAuthToken | None) -> list[Any]:
        # The box is emptied: what it would list has been taken, and lies there no longer.
        try:
            with received(sent) as paths:
                if not paths and had:
                    return [gr.skip(), gr.skip(), gr.skip(), None]  # sent twice: it is here already
                home = server.jobs.folders.uploads(server.owner(token))
                folder = accept_upload(paths, home)
            return [folder.name, "", own_view(open_folder(folder)), None]
        except UserError as error:
            return ["", problem_view(_at(error, UPLOAD), UPLOAD), "", None]

    def on_pairs(name: str, setting: object, token: gr.OAuthToken | None) -> str:
        if not name:
            return ""
        return _pairs(lambda: uploaded(server, name, token), setting, UPLOAD)

    where.change(on_choice, where, fields.slots[UPLOAD], **QUIET)
    files.upload(
        on_upload, [files, upload], [upload, fields.slots[UPLOAD], shown, files], **RAW,
        concurrency_limit=_SIDE_BY_SIDE,
    ).then(
        on_pairs, [upload, duplicates], pairs, **RAW,
        concurrency_limit=_SIDE_BY_SIDE,
    )  # fmt: skip
    return upload


def uploaded(server: Server, name: str, token: gr.OAuthToken | None) -> Path:
    """The folder of a visitor's upload.

    Raises:
        UserError: the visitor has none of that name, or is signed out.
    """
    return find_upload(server.jobs.folders.uploads(server.owner(token)), name)


def name_folder(server: Server, fields: Fields, duplicates: Any) -> None:
    """Lay the box for a folder of this machine out; for a page at home only.

    Args:
        server: see there.
        fields: takes it.
        duplicates: input of that setting.
    """
    assert not server.place.on_space
    box = fields.add(
        FOLDER,
        "Folder on this computer",
        lambda: gr.Textbox(
            label="Folder on this computer",
            placeholder="/home/me/pictures",
            info="It is read where it lies. Captions come from metadata.csv or metadata.jsonl in "
            "it (file_name, text).",
            elem_id="folder-path",
        ),
    )
    shown, pairs = (
        gr.HTML(elem_id="foldered", elem_classes=["ms-slot"]),
        gr.HTML(elem_id="folder-pairs", elem_classes=["ms-slot"]),
    )

    def on_name(text: object) -> tuple[str, str]:
        if not isinstance(text, str) or not text.strip():
            return "", ""
        try:
            return "", own_view(open_folder(find_folder(text)))
        except UserError as error:
            return problem_view(_at(error, FOLDER), FOLDER), ""

    def on_pairs(text: object, setting: object) -> str:
        if not isinstance(text, str) or not text.strip():
            return ""
        return _pairs(lambda: find_folder(text), setting, FOLDER)

    gr.on(
        [box.submit, box.blur], on_name, box, [fields.slots[FOLDER], shown],
        **RAW,
    ).then(on_pairs, [box, duplicates], pairs, **RAW)  # fmt: skip


def _pairs(folder: Callable[[], Path], setting: object, field: str) -> str:
    try:
        return duplicates_view(duplicate_pairs(open_folder(folder())), setting)
    except UserError:
        return ""  # what is wrong stands beside the field already


def _at(error: UserError, field: str) -> list[UserError]:
    parts = getattr(error, "errors", [error])
    return [UserError(field, one.problem, one.remedy) for one in parts]
