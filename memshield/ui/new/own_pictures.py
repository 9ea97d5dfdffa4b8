"""The visitor's own pictures: a tray of uploads, or at home a folder; and their duplicates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from memshield.errors import UserError
from memshield.forecast.duplicates import find_duplicates, open_folder
from memshield.ui.errors import on_error
from memshield.ui.form.recipes import RecipeName
from memshield.ui.new.descriptions import duplicates_view, own_view
from memshield.ui.new.local_folder import find_folder
from memshield.ui.new.recipe_choice import is_mirrored
from memshield.ui.new.tray_box import TrayBox
from memshield.ui.new.uploads.tray import Tray
from memshield.ui.server.server import Server
from memshield.ui.widgets.fields import RAW, Fields
from memshield.ui.widgets.problems import problem_view

UPLOAD, FOLDER = "upload", "folder"


def upload_pictures(server: Server, fields: Fields, recipe: gr.State, where: Any) -> gr.State:
    """Lay out the picture tray.

    Args:
        server: the page's server.
        fields: takes the tray, and has the inputs of all settings.
        recipe: its name.
        where: choice of where the pictures come from.

    Returns:
        The name of the visitor's tray, which changes with it; "" while it is empty.
    """
    box = TrayBox(server, fields, UPLOAD)
    box.answer(_duplicate_settings(fields, recipe), where)
    return box.upload


def uploaded(server: Server, name: str, token: gr.OAuthToken | None) -> Path:
    """Find the pictures in a visitor's tray, for a plan.

    Args:
        server: the page's server.
        name: of the tray as the page shows it. What is in it now counts.
        token: of the visitor.

    Raises:
        UserError: it is empty, or the visitor is signed out.
    """
    tray = Tray(server.jobs.folders.uploads(server.owner(token)))
    if not name:
        raise UserError(FOLDER, "these pictures are not here any more", "Upload them again.")
    return tray.for_plan()


def for_job(
    server: Server, values: Mapping[str, Any], token: gr.OAuthToken | None
) -> dict[str, Any]:
    """The settings of a job: the tray is replaced by a copy, which stays as it is.

    Args:
        server: the page's server.
        values: settings of a plan.
        token: of the visitor.

    Raises:
        UserError: the tray is empty by now, or the visitor is signed out.
    """
    tray = Tray(server.jobs.folders.uploads(server.owner(token)))
    folder = values.get("train_data_dir")
    if folder is None or Path(folder).parent != tray.planned:
        return dict(values)
    return {**values, "train_data_dir": str(tray.for_training())}


def name_folder(server: Server, fields: Fields, recipe: gr.State) -> None:
    """Lay out the input for a local folder; only for a page at home.

    Args:
        server: the page's server.
        fields: takes the input, and has those of all settings.
        recipe: its name.
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
    def on_pairs(text: object, setting: object, flips: object, recipe: RecipeName) -> str:
        if not isinstance(text, str) or not text.strip():
            return ""
        pictures = open_folder(find_folder(text))
        found = find_duplicates(pictures, mirrored=is_mirrored(flips, recipe))
        return duplicates_view(found, setting)

    gr.on(
        [box.submit, box.blur], on_name, box, [fields.slots[FOLDER], shown],
        **RAW,
    ).then(on_pairs, [box, *_duplicate_settings(fields, recipe)], pairs, **RAW)  # fmt: skip


def _duplicate_settings(fields: Fields, recipe: gr.State) -> list[Any]:
    """Inputs that say what becomes of duplicates, and whether mirror images are some."""
    return [fields.inputs["duplicates"], fields.inputs["random_flip"], recipe]
