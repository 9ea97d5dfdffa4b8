"""The settings of a job: what is accepted, changes to them, and those of its plain twin."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from memshield.config.file import Config, make_config, may_differ_on_resume, read_yaml, to_yaml
from memshield.config.mitigation import PLAIN, is_plain
from memshield.config.schema import HubSettings
from memshield.data.examples import DROPPED, WATCHED, Examples
from memshield.errors import UserError, UserErrors
from memshield.jobs.admission import require_allowed, settle_paths
from memshield.jobs.folders import Folders, name_from
from memshield.jobs.records import LOCAL, Job
from memshield.rundir import RunDir, write_text

_READ = ("pretrained_model_name_or_path", "model_config_name_or_path", "dataset_name")
_SUFFIX = "-plain"


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


def changed_values(folders: Folders, job: Job, changes: Mapping[str, Any]) -> dict[str, Any]:
    """A job's settings with changes, for another training."""
    return {**read_yaml(folders.settings(job.id)), **changes, "resume_from_checkpoint": "latest"}


def reads_anew(changes: Mapping[str, Any]) -> bool:
    """Whether changes name a model or dataset, which may be private."""
    return any(name in changes for name in _READ)


def changed_config(folders: Folders, job: Job, changes: Mapping[str, Any]) -> Config:
    """A job's config with changes, to resume with.

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


def plain_values(run: RunDir, settings: Path) -> dict[str, Any]:
    """Settings of the same training without mitigation, and with nothing that ends it early.

    The pictures, those held out, the seed, the steps and the rate are the same. It asks for no
    publication: that would be in the place of the mitigated model.

    Args:
        run: the mitigated one, which knows what was read: commits, and the model's defaults.
        settings: those that it was started with, in case it has not begun.

    Raises:
        UserError: it is plain already.
    """
    config = make_config(read_yaml(run.config if run.is_run() else settings))
    if is_plain(config.model_dump()):
        raise UserError("job", "it is plain training itself", "Choose a run with mitigation.")
    unpublished = {name: field.default for name, field in HubSettings.model_fields.items()}
    return {
        **config.model_dump(),
        **unpublished,
        **PLAIN,
        "loss_bank_reference": "own",
        "watch_fraction": _watched(run, config),
        "outer_learning_rate": 1.0,
        "outer_momentum": 0.0,
        "shard_optimizer": None,  # by default that of a single shard
        "memorization_budget": None,
        "audit_every_rounds": None,
        "resume_from_checkpoint": "latest",
    }


def _watched(run: RunDir, config: Config) -> float | None:
    """The share that the mitigated run watches: the plain one leaves the same pictures out."""
    if config.watch_fraction is not None or not run.examples.is_file():
        return config.watch_fraction
    split = Examples.read(run.examples).split
    kept = int((split != DROPPED).sum())
    return float((split == WATCHED).sum() / kept) if WATCHED in split else None


def plain_name(name: str) -> str:
    """The name of a run's plain twin."""
    return name_from(name[: 60 - len(_SUFFIX)]) + _SUFFIX


def require_new(wanted: Config, others: Iterable[tuple[str, Config]]) -> None:
    """Refuse a training that differs from another one in its output_dir alone.

    Args:
        wanted: its settings.
        others: names and settings of those that are there.

    Raises:
        UserError: it is there already.
    """
    here = {"output_dir": ""}
    for name, config in others:
        if config.model_copy(update=here) == wanted.model_copy(update=here):
            raise UserError(
                "job", f"its plain one is there already: {name}",
                "Choose it in the list of runs; delete it to train it anew.",
            )  # fmt: skip


def publishing_settings(run: RunDir, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a publication: where to, and those that differ from the run's.

    Raises:
        UserError: a change is wrong or no setting of publishing, or there is no name.
    """
    for name in changes:
        if name not in HubSettings.model_fields or name == "push_to_hub":
            raise UserError(name, "is no setting of publishing", "Leave it out.")
    config = make_config({**read_yaml(run.config), **changes})
    if config.hub_model_id is None:
        raise UserError("hub_model_id", "is needed to publish", "Name it: owner/name.")
    settings = {"hub_model_id": config.hub_model_id}
    return settings | {name: getattr(config, name) for name in changes}
