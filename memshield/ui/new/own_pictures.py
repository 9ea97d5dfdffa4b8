"""The visitor's own pictures: an upload, or at home a folder; shows them and their duplicates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from memshield.forecast.duplicates import find_duplicates, open_folder
from memshield.ui.errors import on_error
from memshield.ui.new.descriptions import duplicates_view, own_view
from memshield.ui.new.local_folder import find_folder
from memshield.ui.new.uploads.browser_files import uploaded_files
from memshield.ui.new.uploads.store import accept_upload, find_upload
from memshield.ui.server.server import Server
from memshield.ui.widgets.fields import QUIET, RAW, Fields
from memshield.ui.widgets.problems import problem_view

UPLOAD, FOLDER = "upload", "folder"
_AT_ONCE = 2
"""Comparisons at once: each takes a core for up to twenty seconds."""


def upload_pictures(server: Server, fields: Fields, duplicates: Any, where: Any) -> gr.State:
    """Lay out the upload.

    Args:
        server: the page's server.
        fields: takes the upload.
        duplicates: input of that setting.
        where: choice of where the pictures come from.

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

    # gradio itself shows its refusal of an upload without a sign-in for a moment only.
    @on_error(problem_view)
    def on_choice(place: object, token: gr.OAuthToken | None) -> str:
        if place == UPLOAD:
            server.owner(token)
        return ""

    # The box is emptied: the files it lists have been moved.
    @on_error(lambda error: ["", problem_view(error), "", None])
    def on_upload(sent: object, earlier: str, token: gr.OAuthToken | None) -> list[Any]:
        with uploaded_files(sent) as paths:
            if not paths and earlier:
                return [gr.skip(), gr.skip(), gr.skip(), None]  # sent twice, and taken already
            home = server.jobs.folders.uploads(server.owner(token))
            folder = accept_upload(paths, home)
        return [folder.name, "", own_view(open_folder(folder)), None]

    # The field's problem, if any, is shown already.
    @on_error(lambda error: "")
    def on_pairs(name: str, setting: object, token: gr.OAuthToken | None) -> str:
        if not name:
            return ""
        folder = uploaded(server, name, token)
        return duplicates_view(find_duplicates(open_folder(folder)), setting)

    where.change(on_choice, where, fields.slots[UPLOAD], **QUIET)
    files.upload(
        on_upload, [files, upload], [upload, fields.slots[UPLOAD], shown, files], **RAW,
        concurrency_limit=_AT_ONCE,
    ).then(
        on_pairs, [upload, duplicates], pairs, **RAW,
        concurrency_limit=_AT_ONCE,
    )  # fmt: skip
    return upload


def uploaded(server: Server, name: str, token: gr.OAuthToken | None) -> Path:
    """Find the folder of a visitor's upload.

    Raises:
        UserError: the visitor has none of that name, or is signed out.
    """
    return find_upload(server.jobs.folders.uploads(server.owner(token)), name)


def name_folder(server: Server, fields: Fields, duplicates: Any) -> None:
    """Lay out the input for a local folder; only for a page at home.

    Args:
        server: the page's server.
        fields: takes the input.
        duplicates: input of that setting.
    """
    assert not server.deployment.on_space
    box = fields.add(
        FOLDER,
        "Folder on this computer",
        lambda: gr.Textbox(
            label="Folder on this computer",
            placeholder="/home/me/pictures",
            info="Its pictures are not copied. Captions come from its metadata.csv or "
            "metadata.jsonl (file_name, text).",
            elem_id="folder-path",
        ),
    )
    shown, pairs = (
        gr.HTML(elem_id="foldered", elem_classes=["ms-slot"]),
        gr.HTML(elem_id="folder-pairs", elem_classes=["ms-slot"]),
    )

    @on_error(lambda error: (problem_view(error), ""))
    def on_name(text: object) -> tuple[str, str]:
        if not isinstance(text, str) or not text.strip():
            return "", ""
        return "", own_view(open_folder(find_folder(text)))

    @on_error(lambda error: "")
    def on_pairs(text: object, setting: object) -> str:
        if not isinstance(text, str) or not text.strip():
            return ""
        return duplicates_view(find_duplicates(open_folder(find_folder(text))), setting)

    gr.on(
        [box.submit, box.blur], on_name, box, [fields.slots[FOLDER], shown],
        **RAW,
    ).then(on_pairs, [box, duplicates], pairs, **RAW)  # fmt: skip
