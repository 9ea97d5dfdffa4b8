"""`python -m memshield audit TARGET`: what a model gives back of its training pictures."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from tqdm.auto import tqdm

from memshield.audit.arguments import EMBEDDABLE, OWN, audit_parser
from memshield.audit.auditing import (
    Options,
    audit_model,
    audit_pictures,
    prompts_of,
    read_report,
    require_same_pictures,
)
from memshield.audit.held_out import PLACES, parts_of, with_fresh
from memshield.audit.images import of_folder
from memshield.audit.measurement import ModelMeasurer
from memshield.audit.progress_file import AuditProgressFile
from memshield.audit.reference import Reference
from memshield.audit.report import PAGE, REPORT, AuditedModel, Report
from memshield.audit.sample_size import LEAST_HELD_OUT
from memshield.audit.statements import base_among, lines_of
from memshield.audit.subject import Subject, open_pipeline, open_run
from memshield.audit.team import Team
from memshield.config.file import make_config
from memshield.config.flags import given, merged
from memshield.errors import UserError
from memshield.paths import expanded
from memshield.quantities import plural
from memshield.rundir import RunDir


def main(argv: Sequence[str]) -> int:
    """Audit, print the verdict and say where the report is."""
    parser = audit_parser()
    words = given(parser, argv)
    flags = {name: words.pop(name) for name in OWN if name in words}
    settings = merged(words)
    device = _device()
    base = None
    with Bars() as bars:
        if "images" in flags:
            if int(os.environ.get("WORLD_SIZE", "1")) > 1:
                raise UserError(
                    "accelerate launch", "pictures that exist already are audited by one process",
                    "Leave `accelerate launch` out.",
                )  # fmt: skip
            report, folder = _audit_images(flags, settings, device, bars)
        else:
            report, folder, base = _audit_target(flags, settings, device, bars)
    if not is_first():
        return 0
    print(lines_of(report, base))
    print(f"{folder / PAGE}\n{folder / REPORT}")
    return 0


def options_of(flags: dict[str, Any]) -> Options:
    """The options of generation, from the flags.

    Raises:
        UserError: a number is out of range.
    """
    for name, least in (("num_images", 10), ("num_inference_steps", 1), ("seed", 0)):
        if name in flags and flags[name] < least:
            raise UserError(f"--{name}", f"must be at least {least}, is {flags[name]}", "")
    return Options(
        num_images=flags.get("num_images"),
        seed=flags.get("seed", 0),
        steps=flags.get("num_inference_steps", 50),
        prompts=flags.get("prompts", "train"),
        attacks=not flags.get("no_attacks", False),
    )


def is_first() -> bool:
    """Whether this process is the one that speaks and writes."""
    return os.environ.get("RANK", "0") == "0"


def _device() -> torch.device:
    """The GPU of this process among those of one launch; the CPU where there is none."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def comparison_of(
    flags: dict[str, Any],
    reference: Reference,
    device: torch.device,
    bars: Bars,
    text: bool,
    team: Team | None = None,
) -> ModelMeasurer:
    """The comparison that the flags ask for, opened.

    Args:
        flags: of the command.
        reference: the real pictures.
        device: to search and to embed on.
        bars: are told how far it is.
        text: whether the models have prompts.
        team: of processes that share the work.

    Raises:
        UserError: SSCD without its digest, or with another one.
    """
    sscd = None
    if "sscd" in flags:
        if "sscd_sha256" not in flags:
            raise UserError("--sscd_sha256", "is needed with --sscd", "The file is a program.")
        sscd = Path(flags["sscd"]), str(flags["sscd_sha256"])
    if "features" in flags:
        spaces = [name for name in flags["features"].split(",") if name not in ("", "none")]
    elif reference.training.shape[2] >= EMBEDDABLE:
        spaces = ["dinov2", *(["clip"] if text else [])]
    else:
        spaces = []
    comparison = ModelMeasurer(reference, device, spaces, sscd, bars, team or Team())
    comparison.open()
    return comparison


class Bars:
    """A progress bar for every part of an audit, one after the other.

    Attributes:
        file: is told as well, where a run is audited.
    """

    def __init__(self) -> None:
        self.file: AuditProgressFile | None = None
        self._bar: Any = None
        self._what = ""

    def __enter__(self) -> Bars:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._close()
        if self.file is not None:
            self.file.clear()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` are done of what is being done."""
        if self.file is not None:
            self.file(what, done, total)
        if what != self._what or self._bar is None:
            self._close()
            self._what = what
            self._bar = tqdm(
                total=total, desc=what, unit="picture", delay=1, disable=not is_first()
            )
        self._bar.update(done - self._bar.n)
        if done >= total:
            self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar, self._what = None, ""


def _audit_target(
    flags: dict[str, Any], settings: dict[str, Any], device: torch.device, bars: Bars
) -> tuple[Report, Path, Report | None]:
    name = _named(flags)
    options = options_of(flags)
    folder = expanded(flags["output_dir"]) if "output_dir" in flags else None
    if "model" not in flags and RunDir(name).is_run():
        bars.file = AuditProgressFile(RunDir(name)) if is_first() else None
        for flag in ("base", "weight_name", "held_out", "held_out_split", "held_out_data_dir"):
            if flag in flags:
                raise UserError(
                    f"--{flag}", f"{name} is a run, which knows its own", "Leave it out."
                )
        subject = open_run(Path(name), flags.get("round"), _moved(settings))
        folder = folder or RunDir(name).audit_of(flags.get("round"))
    else:
        folder = folder or folder_for(name)
        bars.file = AuditProgressFile(RunDir(folder)) if is_first() else None
        subject = _open_other(name, flags, settings, bars)
    options = replace(options, validation_prompts=subject.validation_prompts)
    others = _others(flags.get("beside", []), subject)
    prompts_of(options, subject.facts, subject.reference)  # before any weight is fetched
    if is_first():
        _tell(subject.reference)
    team = Team.of_launch(folder)
    comparison = comparison_of(
        flags, subject.reference, device, bars, subject.facts.needs_captions, team
    )
    beside = _beside(others, comparison, options, folder)
    watch = subject.watch(flags.get("round"))
    bars("loading the model", 0, 1)
    family = subject.load(device)
    report = audit_model(family, subject.target, comparison, options, folder, beside, watch)
    team.close()
    return report, folder, base_among(report, beside)


def _named(flags: dict[str, Any]) -> str:
    if "target" not in flags and "model" not in flags:
        raise UserError("target", "is missing", "Give a run, --model ID, or --images DIR.")
    if "target" in flags and "model" in flags:
        raise UserError("--model", "is given beside a target", "Give one of the two.")
    return str(flags.get("model", flags.get("target")))


def _open_other(name: str, flags: dict[str, Any], settings: dict[str, Any], bars: Bars) -> Subject:
    """Any model that is no run's."""
    if RunDir(name).is_run():
        raise UserError("--model", f"{name} is a run", f"Leave --model out: audit {name}")
    if "round" in flags:
        raise UserError("--round", f"{name} holds no run", "Leave it out.")
    unknown = f"it is not known which pictures {name} was trained on"
    if "target" in flags:
        found = f"{name} holds no run" if Path(name).exists() else f"there is no run {name}"
        unknown = f"{found}, and of another model it is not known which pictures it was trained on"
    _require_dataset(settings, unknown)
    bars("reading the pictures", 0, 1)
    settings, fresh = parts_of(flags, settings)
    return open_pipeline(name, settings, fresh, flags.get("base"), flags.get("weight_name"))


def _tell(reference: Reference) -> None:
    """What is known of the pictures before anything is computed."""
    held_out = len(reference.held_out)
    if reference.overlap:
        print(f"Not taken as held out, for they were trained on: {reference.overlap}")
    if reference.near_overlap:
        print(
            "Not taken as held out, for they are nearly equal to training pictures: "
            f"{reference.near_overlap}"
        )
    if held_out < LEAST_HELD_OUT:
        print(
            f"{plural(held_out, 'picture')} held out, and {LEAST_HELD_OUT} are needed: the report "
            "will not be able to say what is given back beyond chance."
        )


def _audit_images(
    flags: dict[str, Any], settings: dict[str, Any], device: torch.device, bars: Bars
) -> tuple[Report, Path]:
    for name in (
        "target", "model", "base", "weight_name", "round", "num_images", "prompts", "seed",
        "num_inference_steps",
    ):  # fmt: skip
        if name in flags:
            raise UserError(
                name, "cannot be given with --images, whose pictures exist already", "Leave it out."
            )
    _require_dataset(settings, "pictures are compared with training pictures")
    beside = {path: read_report(expanded(path)) for path in flags.get("beside", [])}
    pictures = expanded(flags["images"])
    images = of_folder(pictures, make_config(settings, without=["model"]).resolution)
    if images.shape[2] != images.shape[3]:
        images = of_folder(pictures, min(images.shape[2:]))
    channels, resolution = images.shape[1], images.shape[2]
    settings, fresh = parts_of(flags, settings)
    config = make_config({**settings, "resolution": resolution}, without=["model"])
    reference = Reference.of_dataset(config, channels, with_fresh(config, fresh, without=["model"]))
    for name, report in beside.items():
        require_same_pictures(report, reference, name)
    comparison = comparison_of(flags, reference, device, bars, text=False)
    folder = expanded(flags["output_dir"]) if "output_dir" in flags else folder_for(str(pictures))
    target = AuditedModel(name=pictures.resolve().name, kind="pictures")
    return audit_pictures(images, target, comparison, folder, list(beside.values())), folder


def folder_for(name: str) -> Path:
    """The folder of an audit of what is no run: by the owner, or the folder around it, too.

    Args:
        name: a Hub id, or a path.
    """
    path = expanded(name)
    parts = (path.resolve() if path.exists() else path).parts[-2:]
    return Path("memshield-audit") / re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(parts)).strip("-")


def _others(names: Sequence[str], subject: Subject) -> list[Report | Subject]:
    """What stands beside a model: audits of others, and its base, of which one has to be made.

    Raises:
        UserError: there is no such audit or base, or it is of other pictures.
    """
    found: list[Report | Subject] = []
    for name in names:
        if name == "base":
            found.append(subject.base())
            continue
        report = read_report(expanded(name))
        require_same_pictures(report, subject.reference, name)
        found.append(report)
    return found


def _beside(
    others: Sequence[Report | Subject],
    comparison: ModelMeasurer,
    options: Options,
    folder: Path,
) -> list[Report]:
    found = []
    for one in others:
        if isinstance(one, Report):
            found.append(one)
            continue
        family = one.load(comparison.device)
        own = comparison.reference
        # It was trained in other sizes than the run's, and nobody knows how it was cropped.
        comparison.reference = replace(own, buckets=(), random_crops=0)
        found.append(audit_model(family, one.target, comparison, options, folder.parent / "base"))
        comparison.reference = own
    return found


def _moved(settings: dict[str, Any]) -> dict[str, Any]:
    other = [name for name in settings if name not in PLACES]
    if other:
        raise UserError(
            f"--{other[0]}",
            "the run's own settings are used",
            f"Only where its dataset is may be given: {', '.join(PLACES)}.",
        )
    return settings


def _require_dataset(settings: dict[str, Any], why: str) -> None:
    if not settings.get("dataset_name") and not settings.get("train_data_dir"):
        raise UserError("dataset_name", why, "Give --dataset_name or --train_data_dir.")
