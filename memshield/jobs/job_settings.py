"""The settings of a job: what is accepted, and the file that its command reads."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from memshield.config.file import Config, make_config, to_yaml
from memshield.errors import UserError
from memshield.jobs.admission import require_allowed, settle_paths
from memshield.jobs.folders import Folders
from memshield.jobs.records import LOCAL, Job
from memshield.rundir import write_text


def accepted(owner: str, values: Mapping[str, Any], folders: Folders) -> Config:
    """The config that an owner's job may have.

    Args:
        owner: who is signed in, or `LOCAL`.
        values: settings by name. output_dir is the server's to choose and is ignored.
        folders: of the server.

    Raises:
        UserError: a setting is wrong or not open to this owner.
    """
    config = make_config({**values, "output_dir": "run"})
    require_allowed(config, owner, folders)
    return settle_paths(config) if owner == LOCAL else config


def write_settings(folders: Folders, job: Job, config: Config, new: bool = False) -> None:
    """Write the file that a job is started with.

    Args:
        folders: of the server.
        job: whose settings they are.
        config: see `accepted`.
        new: whether the job's folder is to be made.

    Raises:
        UserError: it cannot be written; a new folder is gone then.
    """
    try:
        if new:
            folders.make(job.id)
        path = str(folders.run(job).path)
        write_text(
            folders.settings(job.id), to_yaml(config.model_copy(update={"output_dir": path}))
        )
    except OSError as error:
        if new:
            shutil.rmtree(folders.job(job.id), ignore_errors=True)
        raise UserError(
            "job", f"its settings cannot be written: {error.strerror}",
            "Make room on the server's disk.",
        ) from None  # fmt: skip
