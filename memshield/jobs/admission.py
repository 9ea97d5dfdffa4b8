"""Which settings a job may have: visitors get no access to the server's own files."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

from memshield.config.file import Config, make_config, read_yaml
from memshield.config.schema import BUILT_IN
from memshield.errors import UserError, UserErrors
from memshield.jobs.commands import ROOT
from memshield.jobs.folders import Folders
from memshield.jobs.records import LOCAL
from memshield.paths import expanded
from memshield.rundir import RunDir

PLACES = (
    "pretrained_model_name_or_path",
    "model_config_name_or_path",
    "pretrained_vae_model_name_or_path",
    "dataset_name",
    "train_data_dir",
)
"""Settings that may name a folder or file."""
OF_PICTURES = ("dataset_name", "train_data_dir")
"""Those that name pictures."""
SHIPPED = ROOT / "configs" / "models"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_TRACKERS = ("tensorboard",)


def settle_paths(config: Config) -> Config:
    """The config with paths that do not depend on the folder that the server was started in."""
    changes = {}
    for name in PLACES:
        value = getattr(config, name)
        if value and (path := expanded(value)).exists():
            changes[name] = str(path.absolute())
    return config.model_copy(update=changes)


def require_allowed(
    config: Config,
    owner: str,
    folders: Folders,
    may_be_gone: bool = False,
    unread: Collection[str] = (),
) -> None:
    """Refuse settings that reach for files or accounts of the server that are not the owner's.

    Args:
        config: of the job.
        owner: of the job.
        folders: of the server.
        may_be_gone: whether what the owner uploaded may have been deleted since: publishing
            sends a model that is there, and opens no picture that it was trained on.
        unread: settings of `PLACES` that are not looked at, such as those of a run that began on
            another computer.

    Raises:
        UserErrors: naming every such setting.
    """
    if owner == LOCAL:
        return
    errors, uploads = [], folders.uploads(owner)
    for name in PLACES:
        value = getattr(config, name)
        if value is None or name in unread or _is_open(name, value, uploads):
            continue
        if not _is_gone(value, uploads):
            errors.append(
                UserError(
                    name,
                    f"{value!r} is neither on the Hub nor among what you uploaded",
                    "Give a Hub id, or upload a folder of pictures.",
                )
            )
        elif not may_be_gone:
            errors.append(
                UserError(
                    name,
                    "what you uploaded for it is not there any more",
                    "Upload it again and start a new training.",
                )
            )
    others = [name for name in config.report_to or () if name not in _TRACKERS]
    if others:
        errors.append(
            UserError(
                "report_to",
                f"{others[0]} would report to the account of this server",
                f"Leave it out, or use {_TRACKERS[0]}.",
            )
        )
    if errors:
        raise UserErrors(errors)


def require_run_allowed(
    run: RunDir,
    owner: str,
    folders: Folders,
    may_be_gone: bool = False,
    unread: Collection[str] = (),
) -> None:
    """Refuse a run whose own settings reach for files that are not the owner's.

    They may have come with the run, from its owner's bucket.

    Args:
        run: of the owner.
        owner, folders, may_be_gone, unread: as of `require_allowed`.

    Raises:
        UserErrors: naming every such setting.
        UserError: the settings cannot be read.
    """
    require_allowed(make_config(read_yaml(run.config)), owner, folders, may_be_gone, unread)


def _is_open(name: str, value: str, uploads: Path) -> bool:
    if "\0" in value:
        return False
    if name == "dataset_name" and value == BUILT_IN:
        return True
    # A task runs in ROOT: that is what its relative paths mean.
    path = (ROOT / value).resolve()
    if path.is_relative_to(uploads):
        return path.exists() and not _holds_links(path)
    if name == "model_config_name_or_path" and path.is_relative_to(SHIPPED):
        return path.is_file()
    if name == "train_data_dir":
        return False
    return _HUB_ID.fullmatch(value) is not None and ".." not in value and not path.exists()


def _is_gone(value: str, uploads: Path) -> bool:
    """Whether a place is among the owner's uploads, and nothing is there."""
    path = (ROOT / value).resolve() if "\0" not in value else ROOT
    return path.is_relative_to(uploads) and not path.exists()


def _holds_links(path: Path) -> bool:
    """Whether anything in a folder leads out of it."""
    return any(
        os.path.islink(os.path.join(folder, name))
        for folder, inner, files in os.walk(path)
        for name in (*inner, *files)
    )
