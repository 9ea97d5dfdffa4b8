"""The settings of a job with some of them changed, to go on with or to begin anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memshield.config.file import Config, make_config, may_differ_on_resume, read_yaml
from memshield.errors import UserError, UserErrors
from memshield.jobs.folders import Folders
from memshield.jobs.job_settings import accepted
from memshield.jobs.records import Job

_READ = ("pretrained_model_name_or_path", "model_config_name_or_path", "dataset_name")


def changed_values(folders: Folders, job: Job, changes: Mapping[str, Any]) -> dict[str, Any]:
    """A job's settings with changes, for another training."""
    return {**read_yaml(folders.settings(job.id)), **changes, "resume_from_checkpoint": "latest"}


def reads_anew(changes: Mapping[str, Any]) -> bool:
    """Whether changes name a model or dataset, which may be its reader's alone."""
    return any(name in changes for name in _READ)


def changed_config(folders: Folders, job: Job, changes: Mapping[str, Any]) -> Config:
    """A job's config with changes, to go on with from its last checkpoint.

    Raises:
        UserError: a setting is wrong, not open to the owner, or may not differ any more.
    """
    config = accepted(job.owner, {**read_yaml(folders.settings(job.id)), **changes}, folders)
    run = folders.run(job)
    if not run.has_begun():
        return config
    begun = make_config(read_yaml(run.config))
    fixed = [
        name for name in changes
        if name != "output_dir" and not may_differ_on_resume(name)
        and getattr(config, name) != getattr(begun, name)
    ]  # fmt: skip
    if fixed:
        raise UserErrors([
            UserError(
                name, f"is {getattr(begun, name)!r} in what has been trained, and may not differ",
                "Train anew with it, or leave it out.",
            )
            for name in fixed
        ])  # fmt: skip
    return config
