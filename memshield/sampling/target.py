"""The model to sample from: a run's, or a published one that was fetched and checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memshield.audit.report import Report
from memshield.config.file import Config, make_config, read_yaml
from memshield.errors import UserError
from memshield.families.facts import is_prompted
from memshield.hub.catalog.access import is_address, require_id
from memshield.hub.manifest import Manifest
from memshield.hub.provenance import is_from, reports_of
from memshield.hub.pull import fetch, open_fetched
from memshield.network import asking
from memshield.rundir import RunDir
from memshield.sampling.request import SampleArguments

NOT_HERE = (
    "The training pictures are not here: nobody can tell from the model alone whether a picture is "
    "a near-copy of one of them."
)
NOT_ASKED = "The pictures were not compared with the training pictures: that was not asked for."


@dataclass(frozen=True)
class SampledModel:
    """A model.

    Attributes:
        name: Hub id, or the run's name.
        text: whether it is prompted.
        resolution: of its pictures; None for its pipeline's own.
        prompt_tokens: max_sequence_length of its training; None for its pipeline's own.
        run: whose training pictures are at hand; None where they are not.
        reports: audits that may tell the threshold.
        not_compared: why pictures are not compared, where they are not.
        open: makes the pipeline of stock diffusers.
    """

    name: str
    text: bool
    resolution: int | None
    prompt_tokens: int | None
    run: RunDir | None
    reports: Sequence[Report]
    not_compared: str | None
    open: Callable[..., Any]


def is_hub_id(arguments: SampleArguments) -> bool:
    """Whether the target names a repository on the Hub.

    A run directory goes before an id; with a revision nothing that lies here is looked at.
    """
    return arguments.revision is not None or not RunDir(arguments.target).is_run()


def open_target(arguments: SampleArguments) -> SampledModel:
    """The model of a command line.

    Raises:
        UserError: there is none, it contradicts itself, or `against` is not its run.
    """
    return _of_hub(arguments) if is_hub_id(arguments) else _of_run(arguments)


def _of_run(arguments: SampleArguments) -> SampledModel:
    for flag, value in (("against", arguments.against), ("base", arguments.base)):
        if value is not None:
            raise UserError(
                flag, f"{arguments.target} is a run, which knows its own", "Leave it out."
            )
    run = RunDir(arguments.target)
    config = make_config(read_yaml(run.config))
    folder = run.model if arguments.round is None else run.rounds / str(arguments.round)
    if not folder.is_dir():
        raise UserError("round", f"{folder} is not there yet", "Wait for the run, or name a round.")
    return SampledModel(
        name=run.path.resolve().name,
        text=is_prompted(folder),
        resolution=config.resolution,
        prompt_tokens=config.max_sequence_length,
        run=run if arguments.compare else None,
        reports=tuple(reports_of(run)),
        not_compared=None if arguments.compare else NOT_ASKED,
        open=lambda **options: _open_of_run(config, folder, options),
    )


def _open_of_run(config: Config, folder: Path, options: dict[str, Any]) -> Any:
    from memshield.families.pipelines import open_pipeline

    base = config.pretrained_model_name_or_path
    if config.training != "lora" or base is None:
        return open_pipeline(folder, None, **options)
    where: dict[str, Any] = {"revision": config.revision, "variant": config.variant}
    with asking("pretrained_model_name_or_path", base, "model", config.revision):
        vae = config.pretrained_vae_model_name_or_path
        return open_pipeline(folder, base, vae, **where, **options)


def _of_hub(arguments: SampleArguments) -> SampledModel:
    if arguments.round is not None:
        raise UserError("round", "a published model has one only", "Leave it out.")
    repo_id = _id_of(arguments.target)
    folder, manifest = fetch(repo_id, arguments.revision)
    run = _own_run(arguments.against, repo_id, manifest)
    base = arguments.base or _base_of(run, manifest)
    reports = [*([manifest.audit] if manifest.audit else []), *(reports_of(run) if run else ())]
    compared = run is not None and arguments.compare
    return SampledModel(
        name=repo_id,
        text=manifest.text,
        resolution=manifest.training.resolution,
        prompt_tokens=manifest.training.settings.get("max_sequence_length"),
        run=run if compared else None,
        reports=reports,
        not_compared=None if compared else NOT_HERE if run is None else NOT_ASKED,
        open=lambda **options: open_fetched(repo_id, folder, manifest, base=base, **options),
    )


def _id_of(target: str) -> str:
    try:
        return require_id(target, "model", "target")
    except UserError:
        if is_address(target):
            raise
        raise UserError(
            "target", f"{target} holds no run, and is no id on the Hub",
            "Give the output_dir of a training, or owner/name.",
        ) from None  # fmt: skip


def _own_run(path: Path | None, repo_id: str, manifest: Manifest) -> RunDir | None:
    if path is None:
        return None
    run = RunDir(path)
    if not run.is_run():
        raise UserError("against", f"{path} holds no run", "Give the output_dir of its training.")
    if not is_from(manifest, run):
        raise UserError(
            "against",
            f"{repo_id} did not come from {path}: no model in it has the published weights",
            "Give the run that was published; without one, no picture is compared.",
        )
    return run


def _base_of(run: RunDir | None, manifest: Manifest) -> str | None:
    """The base of a LoRA whose publisher withheld it, as far as the run is at hand."""
    if run is None or not manifest.lacks_base:
        return None
    return make_config(read_yaml(run.config)).pretrained_model_name_or_path
