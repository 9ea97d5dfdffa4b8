"""A whole audit of a model: generate, compare, attack, report."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from memshield import __version__
from memshield.audit.attacks import attack_all
from memshield.audit.generate import GeneratedImages, generate
from memshield.audit.images import ImageSet
from memshield.audit.measurement import ModelMeasurements, ModelMeasurer
from memshield.audit.private_report import write_private
from memshield.audit.prompts import KINDS, choose_prompts
from memshield.audit.reference import Reference
from memshield.audit.report import (
    PAGE,
    REPORT,
    Attack,
    AuditedModel,
    Data,
    GeneratedSet,
    Missing,
    Report,
    headline_of,
)
from memshield.audit.report_page import write_page
from memshield.audit.report_view import name_of
from memshield.audit.sample_size import default_count
from memshield.audit.statements import base_among
from memshield.audit.verdict import limits_of, verdict
from memshield.audit.watch_record import WatchRecord
from memshield.config.file import Config
from memshield.config.mitigation import SHAPING
from memshield.errors import UserError
from memshield.families.base import Family
from memshield.families.facts import Facts
from memshield.rundir import audit_lock_path

_LOOK_SECONDS = 1.0
_PACKAGES = ("torch", "diffusers", "transformers", "numpy", "scipy", "matplotlib")


DEFAULT_PROMPTS = "train"


@dataclass(frozen=True)
class Options:
    """Options of generation; all models that are compared share them.

    Attributes:
        num_images: how many; None for a number by the size of the set.
        seed: of all that is drawn.
        steps: of denoising.
        prompts: train, held_out, perturbed, validation, or a text file; of text models.
        validation_prompts: of the run.
        attacks: whether to try membership inference.
    """

    num_images: int | None = None
    seed: int = 0
    steps: int = 50
    prompts: str = DEFAULT_PROMPTS
    validation_prompts: tuple[str, ...] = ()
    attacks: bool = True


def mitigation_of(config: Config) -> dict[str, object]:
    """The settings of a run that shape how much it memorizes."""
    return {name: getattr(config, name) for name in SHAPING}


def audit_model(
    family: Family, target: AuditedModel, comparison: ModelMeasurer, options: Options, folder: Path,
    beside: Sequence[Report] = (), watch: WatchRecord | None = None,
    waiting: Callable[[], None] | None = None,
) -> Report:  # fmt: skip
    """Audit the weights of a family as they are, and write the report.

    Of several processes the first one attacks and writes; they share the rest.

    Args:
        family: the model.
        target: what to call it.
        comparison: with the real pictures; open.
        options: how to generate.
        folder: of the audit; images that are there already are used.
        beside: audits of other models, for the page.
        watch: of the training of these weights, where the held-out loss was watched.
        waiting: called every second while another audit of these weights is waited for; without
            it, such an audit is an error.

    Raises:
        UserError: there are no prompts, no room for the pictures, or another audit of these weights
            is under way.
    """
    if not comparison.team.is_first:
        return _audit(family, target, comparison, options, folder, beside, watch)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(audit_lock_path(folder))
    while not lock.is_locked:
        try:
            lock.acquire(timeout=0 if waiting is None else _LOOK_SECONDS)
        except Timeout:
            if waiting is None:
                raise UserError(
                    "output_dir", f"another process is writing to {folder}",
                    "Wait for it, or stop it.",
                ) from None  # fmt: skip
            waiting()
    try:
        return _audit(family, target, comparison, options, folder, beside, watch)
    finally:
        lock.release()


def _audit(
    family: Family, target: AuditedModel, comparison: ModelMeasurer, options: Options, folder: Path,
    beside: Sequence[Report], watch: WatchRecord | None,
) -> Report:  # fmt: skip
    begun = time.monotonic()
    reference = comparison.reference
    count = _count(options, family.facts, reference)
    prompts = prompts_of(options, family.facts, reference)
    steps = min(options.steps, int(family.scheduler.config.num_train_timesteps))
    generated = generate(
        family, folder, count, options.seed, prompts, steps,
        lambda done: comparison.progress("generating", done, count), comparison.team,
    )  # fmt: skip
    compared = comparison.compare(generated, prompts)
    attacks: list[Attack] = []
    missing = list(compared.missing)
    if not options.attacks:
        missing.append(Missing(measure="membership inference", reason="not asked for"))
    elif len(generated.broken) < count and comparison.team.is_first:
        attacks, why_not = attack_all(family, reference, options.seed, comparison.progress)
        missing += why_not
    kind = options.prompts if options.prompts in KINDS else "a file"
    made = GeneratedSet(
        count=count,
        broken=len(generated.broken),
        seed=options.seed,
        steps=steps,
        prompts=kind if prompts is not None else None,
    )
    report = _report(target, comparison, compared, made, attacks, missing, begun, watch)
    if comparison.team.is_first:
        _write(report, compared, generated, comparison, folder, beside)
    return report


def prompts_of(options: Options, facts: Facts, reference: Reference) -> list[str] | None:
    """The prompts of the pictures; None for a model without text.

    Args:
        options: how to generate.
        facts: of the model.
        reference: the real pictures, whose captions may be the prompts.

    Raises:
        UserError: there are none.
    """
    if not facts.needs_captions and options.prompts != DEFAULT_PROMPTS:
        raise UserError("--prompts", "the model takes no prompts", "Leave it out.")
    if not facts.needs_captions:
        return None
    if reference.captions is None:
        raise UserError(
            "caption_column", "the dataset has no captions to prompt with",
            "Name the column of captions; those of a folder are in its metadata.jsonl.",
        )  # fmt: skip
    return choose_prompts(
        options.prompts,
        reference.captions,
        reference.held_out_captions or [],
        _count(options, facts, reference),
        options.seed,
        options.validation_prompts,
    )


def _count(options: Options, facts: Facts, reference: Reference) -> int:
    return options.num_images or default_count(len(reference.members), facts.needs_captions)


def audit_pictures(
    images: ImageSet, target: AuditedModel, comparison: ModelMeasurer, folder: Path,
    beside: Sequence[Report] = (),
) -> Report:  # fmt: skip
    """Audit pictures that any generator made, and write the report.

    Args:
        images: [N, C, H, W] of the training pictures' size.
        target, comparison, folder, beside: as in `audit_model`.
    """
    begun = time.monotonic()
    generated = GeneratedImages(images, np.empty(0, np.int64))
    compared = comparison.compare(generated)
    missing = [
        *compared.missing,
        Missing(measure="membership inference", reason="it needs the model, not its pictures"),
    ]
    made = GeneratedSet(count=len(images), broken=0, seed=None, steps=None, prompts=None)
    report = _report(target, comparison, compared, made, [], missing, begun)
    _write(report, compared, generated, comparison, folder, beside)
    return report


def _report(
    target: AuditedModel,
    comparison: ModelMeasurer,
    compared: ModelMeasurements,
    made: GeneratedSet,
    attacks: list[Attack],
    missing: list[Missing],
    begun: float,
    watch: WatchRecord | None = None,
) -> Report:
    reference = comparison.reference
    data = Data(
        name=reference.name,
        revision=reference.revision,
        training=len(reference.members),
        held_out=len(reference.held_out),
        duplicate_groups=reference.duplicate_groups,
        resolution=reference.training.shape[2],
        fingerprint=reference.fingerprint,
        overlap=reference.overlap,
        near_overlap=reference.near_overlap,
        buckets=reference.buckets,
        random_crops=reference.random_crops,
        compared_crops=reference.compared_crops,
    )
    return Report(
        made=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        target=target,
        data=data,
        generated=made,
        verdict=verdict(made, headline_of(compared.memorization)),
        memorization=compared.memorization,
        membership=tuple(attacks),
        quality=compared.quality,
        missing=tuple(missing),
        limits=limits_of(made, data),
        versions={
            "memshield": __version__,
            "python": platform.python_version(),
            **{package: version(package) for package in _PACKAGES},
        },
        seconds=round(time.monotonic() - begun, 1),
        watch=watch,
    )


def _write(
    report: Report,
    compared: ModelMeasurements,
    generated: GeneratedImages,
    comparison: ModelMeasurer,
    folder: Path,
    beside: Sequence[Report],
) -> None:
    report.write(folder / REPORT)
    write_page(report, folder / PAGE, beside, base_among(report, beside))
    if compared.findings is not None:
        write_private(
            compared.findings,
            comparison.sets_of(generated.images),
            comparison.reference.members,
            folder,
            f"Pictures of {name_of(report)}",
        )


def read_report(path: Path) -> Report:
    """A report by its file, by the folder of its audit, or by the run whose model it is of.

    Raises:
        UserError: there is none.
    """
    for file in (path, path / REPORT, path / "audit" / "model" / REPORT):
        if file.is_file():
            return Report.read(file)
    raise UserError(
        "beside", f"{path} holds no audit", f"Make one: python -m memshield audit {path}"
    )


def note_of(report: Report) -> dict[str, object]:
    """An audit's values for the event log; none of them points at a single picture."""
    headline, quality = report.headline, report.headline_quality
    note: dict[str, object] = {"verdict": report.verdict}
    if report.generated.is_broken:
        return note  # of the few whole pictures of a broken model nothing follows
    note |= {
        "share": headline.share, "excess": headline.excess,
        "excess_interval": headline.excess_interval,
    }  # fmt: skip
    if quality is not None:
        note |= {"quality": quality.value, "quality_measure": quality.measure}
    return note


def require_same_pictures(report: Report, reference: Reference, name: str) -> None:
    """Refuse to set audits side by side that are of different pictures.

    Raises:
        UserError: they are.
    """
    same = report.data.fingerprint == reference.fingerprint
    if not same or report.data.resolution != reference.training.shape[2]:
        raise UserError(
            "beside",
            f"{name} was audited on other training pictures",
            "Compare models that were trained on the same pictures, with the same seed.",
        )
    if report.data.compared_crops != reference.compared_crops:
        raise UserError(
            "beside",
            f"{name} was compared with other crops of the training pictures, so chance differs",
            "Audit both again, together: compare RUN RUN.",
        )
    if report.data.held_out != len(reference.held_out):
        raise UserError(
            "beside",
            f"{name} was audited with {report.data.held_out} held-out pictures, and this is with "
            f"{len(reference.held_out)}: what is chance differs",
            "Audit both again with the same held-out pictures.",
        )
