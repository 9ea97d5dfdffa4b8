"""The visitor's own runs as models to draw with: the choices, and what is known of each."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from memshield.audit.report import Report
from memshield.audit.report_view import ModelTable, View
from memshield.audit.statements import statements_of
from memshield.config.buckets import size_in_words
from memshield.config.file import Config, make_config, read_yaml
from memshield.config.mitigation import measures_of
from memshield.errors import UserError
from memshield.families.facts import is_prompted
from memshield.jobs.service import Jobs
from memshield.quantities import plural
from memshield.rundir import RunDir
from memshield.runs.promote import require_round
from memshield.runs.reports import base_beside, readable_in
from memshield.ui.widgets.templates import render

MODEL = "model"
Choices = list[tuple[str, str]]


@dataclass(frozen=True)
class OwnModel:
    """A model of the visitor's.

    Attributes:
        job: id of its run.
        name: of the run.
        round: number of the round; None for the run's model.
        text: whether it draws from prompts.
        config: of the run.
        report: its audit; None where it was not audited.
        base: that of its base on the same pictures; None where there is none.
    """

    job: str
    name: str
    round: int | None
    text: bool
    config: Config
    report: Report | None
    base: Report | None = None


def run_choices(jobs: Jobs, owner: str) -> Choices:
    """List the runs that have a model to draw with, newest first, by name and date."""
    found = []
    for job in jobs.list(owner):
        run = jobs.folders.run(job)
        if run.is_run() and (run.model.is_dir() or run.round_numbers()):
            when = time.strftime("%d %b, %H:%M", time.localtime(job.created))
            found.append((f"{job.title} · {when}", job.id))
    return found


def model_choices(run: RunDir) -> Choices:
    """List the models of a run: the chosen one, and every round's."""
    found = []
    if run.model.is_dir():
        number = run.round_of_model()
        words = f" (round {number})" if number is not None else ""
        found.append((f"The model{words}{_audited(run, None)}", MODEL))
    return found + [
        (f"Round {number}{_audited(run, number)}", str(number))
        for number in reversed(run.round_numbers())
    ]


def _audited(run: RunDir, round: int | None) -> str:
    return "" if readable_in(run.audit_of(round)) is None else " · audited"


def find_own_model(jobs: Jobs, owner: str, id: object, what: object) -> OwnModel:
    """Find a model of the visitor's.

    Args:
        jobs: of all owners.
        owner: the visitor.
        id: of the run; of any type.
        what: `MODEL` or the number of a round; of any type.

    Raises:
        UserError: the visitor has no such run, model or round.
    """
    job = jobs.get(owner, str(id or ""))
    run = jobs.folders.run(job)
    if not run.is_run():
        raise UserError("run", f"{job.title} has no model yet", "Wait for its first round to end.")
    number = _round_of(run, what)
    folder = run.model if number is None else run.rounds / str(number)
    if not folder.is_dir():
        raise UserError("round", "there is no such model yet", "Wait for it, or choose a round.")
    report = readable_in(run.audit_of(number))
    return OwnModel(
        job.id,
        job.title,
        number,
        is_prompted(folder),
        make_config(read_yaml(run.config)),
        report,
        base_beside(run, report),
    )


def _round_of(run: RunDir, what: object) -> int | None:
    if what in (None, "", MODEL):
        # A run that was stopped has rounds, and no model of its own yet.
        return None if run.model.is_dir() else max(run.round_numbers(), default=None)
    text = str(what)
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None
    return require_round(run, number)


def own_model_view(model: OwnModel) -> str:
    """Summarize a model of the visitor's."""
    report, name = model.report, "this model"
    return render(
        "model_summary",
        facts=_facts(model),
        audit=report,
        statements=statements_of(report, model.base) if report is not None else (),
        table=None if report is None else ModelTable.of([(name, report)], View.PAGE, report),
        told=(),
    )


def _facts(model: OwnModel) -> list[tuple[str, str]]:
    config = model.config
    kind = "draws from prompts" if model.text else "draws without prompts"
    if config.training == "lora":
        kind += "; a LoRA"
    base = config.pretrained_model_name_or_path
    dataset = config.dataset_name or "your pictures"
    if model.report is not None:
        number = model.report.data.training
        dataset = (
            f"{number:,} of {dataset}"
            if config.dataset_name is None
            else f"{plural(number, 'picture')} of {dataset}"
        )
    done = "; ".join(one.short for one in measures_of(config.model_dump()))
    size = size_in_words(config.resolution, config.aspect_ratio_buckets)
    return [
        ("model", kind),
        ("base", "none: trained from scratch" if base is None else _shown(base)),
        ("trained on", f"{dataset}, {size}"),
        ("how", done or "plain, without mitigation"),
    ]


def _shown(name: str) -> str:
    return Path(name).name if Path(name).is_absolute() else name
