"""Assembles the folder that is published, from allowed files only."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memshield import __version__
from memshield.audit.report import PAGE, REPORT, Report
from memshield.audit.report_page import write_page
from memshield.config.buckets import FIELD
from memshield.config.file import Config
from memshield.config.flow import FlowSettings
from memshield.config.schema import MethodSettings
from memshield.data.examples import Examples
from memshield.digests import file_sha256, weights_sha256
from memshield.errors import UserError, UserErrors
from memshield.families.kinds import takes_prompts
from memshield.families.lora_export import export_lora, file_name
from memshield.hub import model_index as index_of
from memshield.hub.allowed_files import CARD, EVIDENCE, is_model_file
from memshield.hub.card import write_card
from memshield.hub.content_check import problems_of
from memshield.hub.evidence import published
from memshield.hub.manifest import Manifest, Training
from memshield.hub.publish.gallery import write_gallery
from memshield.hub.publish.sources import Origins
from memshield.rundir import RunDir

_TRAINING = (
    "train_batch_size", "gradient_accumulation_steps", "mixed_precision", "learning_rate",
    "lr_scheduler", "lr_warmup_steps", "adam_beta1", "adam_beta2", "adam_weight_decay",
    "adam_epsilon", "max_grad_norm", "snr_gamma", "noise_offset", "use_ema", "ema_decay",
    "random_flip", "center_crop", "prediction_type", "memorization_budget",
)  # fmt: skip
_LORA = ("rank", "lora_alpha", "lora_dropout")
_SPARING = ("base_quantization", "enable_layerwise_casting", "use_adafactor", "use_8bit_adam")
"""Settings that change what is learned to save memory; told of where they are used."""
_PRIVATE_KEYS = ("_name_or_path", "name_or_path", "_commit_hash", "special_tokens_map_file")
"""Keys in which libraries note where a config was read from."""


@dataclass(frozen=True)
class Claims:
    """The claims about a model beside its files.

    Attributes:
        config: of the run, resolved.
        origins: of the model.
        report: the audit of its weights, or None.
        beside: audits of other models.
        confirmed: names of warnings that were confirmed.
    """

    config: Config
    origins: Origins
    report: Report | None
    beside: Mapping[str, Report]
    confirmed: Sequence[str]


def assemble(run: RunDir, claims: Claims, repo_id: str, folder: Path) -> Manifest:
    """Fill an empty folder with what is published of a run, and look it over.

    Args:
        run: with a finished model.
        claims: see there.
        repo_id: where it will be.
        folder: empty; on the file system of the run, so that weights are linked, not copied.

    Raises:
        UserErrors: naming every file that must not be published, and why.
    """
    pipeline_class = _take_model(run.model, folder, claims.origins)
    if claims.config.hub_lora_format is not None:
        format = claims.config.hub_lora_format
        export_lora(run.model, pipeline_class, format, folder / file_name(format))
    base, data = claims.origins.base, claims.origins.dataset
    beside = {name: published(one, name, None, data) for name, one in sorted(claims.beside.items())}
    audit = None
    if claims.report is not None:
        name = repo_id.split("/")[-1]
        audit = published(claims.report, name, base.name if base else None, data)
        (folder / EVIDENCE).mkdir()
        audit.write(folder / EVIDENCE / REPORT)
        page = folder / EVIDENCE / PAGE
        write_page(audit, page, list(beside.values()), beside.get("base"))
    prompts = claims.config.validation_prompts or ()
    gallery = write_gallery(run, claims.report, folder, prompts)
    manifest = Manifest(
        memshield=__version__,
        pipeline_class=pipeline_class,
        text=takes_prompts(pipeline_class),
        license=claims.origins.license,
        base=base,
        vae=claims.origins.vae,
        dataset=data,
        training=_training(run, claims.config),
        audit=audit,
        beside=beside,
        gallery=tuple(gallery),
        prompts={path: prompt for path, prompt in gallery.items() if prompt is not None},
        confirmed=tuple(sorted(claims.confirmed)),
        files={path.relative_to(folder).as_posix(): file_sha256(path) for path in _files(folder)},
    )
    if audit is not None and audit.target.weights != manifest.weights:
        raise UserError(
            "publish", "the model changed while it was being published", "Publish again."
        )
    manifest.write(folder)
    (folder / CARD).write_text(write_card(manifest, repo_id), encoding="utf-8")
    _require_clean(folder, run, claims.config)
    return manifest


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _take_model(model: Path, folder: Path, origins: Origins) -> str:
    """Take over what stock diffusers reads of a saved model; its pipeline class.

    Raises:
        UserError: it is no whole model of safetensors weights.
    """
    index, parts = model / index_of.NAME, None
    pipeline_class = origins.pipeline_class or "StableDiffusionPipeline"
    names = [path.relative_to(model).as_posix() for path in _files(model)]
    try:
        if index.is_file():
            pipeline_class, parts = index_of.read_index(index.read_text(encoding="utf-8"))
        lacks = index_of.is_whole(names, parts)
    except ValueError as error:
        lacks = str(error)
    if lacks is not None:
        raise UserError("model", f"is not one that can be published: {lacks}", "Train it anew.")
    for name in names:
        # A folder that is no part of the pipeline is nothing that diffusers reads.
        inside = "/" not in name or name.split("/")[0] in (parts or ())
        if inside and is_model_file(name):
            _take(model / name, folder / name)
    return pipeline_class


def _take(source: Path, target: Path) -> None:
    """A weight file as a hard link where that can be, a settings file without private keys."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".json":
        text = source.read_text(encoding="utf-8")
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            raise UserError("model", f"{target.name} is not valid JSON", "Train it anew.") from None
        kept = _without_private_keys(values)
        if kept != values:
            text = json.dumps(kept, indent=2) + "\n"
        target.write_text(text, encoding="utf-8")
        return
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _without_private_keys(values: Any) -> Any:
    if isinstance(values, list):
        return [_without_private_keys(one) for one in values]
    if not isinstance(values, dict):
        return values
    return {
        key: _without_private_keys(one) for key, one in values.items() if key not in _PRIVATE_KEYS
    }


def _training(run: RunDir, config: Config) -> Training:
    lora = config.training == "lora"
    if not run.examples.is_file():
        raise UserError("run", f"{run.path} has no {run.examples.name}", "Train it anew.")
    spared = [name for name in _SPARING if getattr(config, name)]
    names = [*MethodSettings.model_fields, *_TRAINING, *(_LORA if lora else ()), *spared, FIELD]
    if config.weighting_scheme is not None:
        names += FlowSettings.model_fields
    values: dict[str, Any] = {name: getattr(config, name) for name in names}
    return Training(
        kind="lora" if lora else "full",
        resolution=int(config.resolution or 0),
        pictures=len(Examples.read(run.examples).members()),
        steps=_steps(run),
        settings={name: value for name, value in values.items() if value is not None},
    )


def _steps(run: RunDir) -> int | None:
    """Optimizer steps until the round that is the model; None where that is not known."""
    rounds = [event for event in run.read_events() if event.get("type") == "round"]
    ends = {event.get("round"): event.get("step") for event in rounds}
    wanted = weights_sha256(run.model)
    for number in sorted(path for path in run.rounds.glob("*") if path.name.isdecimal()):
        if weights_sha256(number) == wanted:
            return ends.get(int(number.name))
    return None


def _require_clean(folder: Path, run: RunDir, config: Config) -> None:
    local = (config.train_data_dir, config.dataset_name, config.pretrained_model_name_or_path)
    named = [Path(place) for place in local if place is not None]
    # Pictures may have been deleted since: where they lay is still nobody's business.
    here = [place for place in named if place.is_absolute() or place.exists()]
    places = [str(place.resolve()) for place in (run.path, *here)]
    problems = problems_of(folder, tuple(places))
    if problems:
        remedy = "Nothing was published. Mend the run's model/ folder, or train again."
        raise UserErrors([UserError("publish", problem, remedy) for problem in problems])
