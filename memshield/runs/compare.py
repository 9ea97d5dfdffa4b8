"""`python -m memshield compare RUN ...`: models or rounds side by side, and the one to keep."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from memshield.audit.arguments import add_options
from memshield.audit.auditing import Options, audit_model
from memshield.audit.choose import Choice, choose, excess_of
from memshield.audit.command import Bars, comparison_of, options_of
from memshield.audit.progress_file import AuditProgressFile
from memshield.audit.report import Report
from memshield.audit.report_page import write_comparison
from memshield.audit.report_view import COLUMNS, ModelRow, View, name_of
from memshield.audit.subject import Subject, open_run
from memshield.config.flags import given, plain_parser
from memshield.digests import weights_sha256
from memshield.errors import UserError
from memshield.paths import expanded
from memshield.rundir import RunDir, write_text
from memshield.runs.promote import promote_alone

OWN_PAGE, OWN_JSON = "compare.html", "compare.json"


def main(argv: Sequence[str]) -> int:
    """Audit every model or round, draw them, and choose one where a budget is given."""
    flags = given(_parser(), argv)
    runs = [Path(word) for word in flags["runs"]]
    budget, alpha = flags.get("budget"), flags.get("alpha")
    _require_sense(runs, flags)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    options = options_of(flags)
    with Bars() as bars:
        audited = _audit_all(runs, flags, options, device, bars)
    reports = [report for _, _, report in audited]
    choice = None if budget is None else choose(reports, budget, alpha)
    folder = expanded(flags.get("output_dir") or _folder_for(runs))
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder, reports, budget, alpha, choice)
    for place, report in enumerate(reports):
        print(_line(report, alpha, chosen=choice is not None and choice.place == place))
    if choice is not None:
        print(f"Chosen: {name_of(reports[choice.place])}: {choice.reason}.")
    print(folder / OWN_PAGE)
    if choice is not None and flags.get("promote"):
        run, number, _ = audited[choice.place]
        _promote(run, number, choice)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = plain_parser(
        "python -m memshield compare",
        "Audit several runs, or all rounds of one, with the same seeds, and set memorization "
        "against quality.",
    )
    parser.usage = f"{parser.prog} RUN [RUN ...] [--name value ...]"
    parser.argument_default = argparse.SUPPRESS  # what is not given is absent
    add_options(parser)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directory")
    parser.add_argument(
        "--rounds", action="store_true", help="all rounds of every run; so it is for a single run"
    )
    parser.add_argument(
        "--budget",
        type=float,
        metavar="X",
        help="largest share given back beyond chance, such as 0.02",
    )
    parser.add_argument(
        "--alpha",
        type=float,
        metavar="X",
        help="apply the budget to MQ at this fixed alpha, less that of held-out pictures",
    )
    parser.add_argument(
        "--promote", action="store_true", help="make the chosen round the run's model"
    )
    return parser


def _require_sense(runs: Sequence[Path], flags: dict[str, Any]) -> None:
    for name in ("budget", "alpha"):
        value = flags.get(name)
        if value is not None and not (math.isfinite(value) and 0 <= value <= 1):
            raise UserError(f"--{name}", f"must lie in 0 to 1, is {value}", "")
    if flags.get("promote") and "budget" not in flags:
        raise UserError("--promote", "the round to promote follows from a budget", "Add --budget.")
    if "alpha" in flags and "budget" not in flags:
        raise UserError(
            "--alpha", "says what --budget applies to, and there is none",
            "Add --budget, or leave --alpha out.",
        )  # fmt: skip
    twice = {str(run) for run in runs if runs.count(run) > 1}
    if twice:
        raise UserError("runs", f"{', '.join(sorted(twice))} is named twice", "Name it once.")


def _audit_all(
    runs: Sequence[Path], flags: dict[str, Any], options: Options, device: torch.device, bars: Bars
) -> list[tuple[Path, int | None, Report]]:
    """Every model with its run and round; runs of other pictures are refused before any work."""
    whole = flags.get("rounds", False) or len(runs) == 1
    wanted: list[tuple[Path, int | None]] = []
    for run in runs:
        if not RunDir(run).is_run():
            raise UserError("runs", f"{run} holds no run", "Give the output_dir of a training.")
        numbers: list[int | None] = [*RunDir(run).round_numbers()] if whole else [None]
        if not numbers:
            raise UserError("runs", f"{run} has no round yet", "Wait for its first one.")
        wanted += [(run, number) for number in numbers]
    subjects = {run: _open_first(run, wanted) for run in runs}
    first = subjects[runs[0]]
    for run, subject in subjects.items():
        if not subject.reference.is_like(first.reference):
            raise UserError(
                "runs",
                f"{run} was trained on other pictures or captions than {runs[0]}, or holds other "
                "ones out",
                "Compare runs of the same dataset, columns, seed, resolution and "
                "held_out_fraction.",
            )
    # Where training mirrored pictures, those that mirror each other are duplicates.
    grouped = next(
        (one.reference for one in subjects.values() if one.reference.mirrored), first.reference
    )
    cropped = next(
        (one.reference for one in subjects.values() if one.reference.crops is not None),
        first.reference,
    )
    reference = replace(
        first.reference,
        mirrored=grouped.mirrored,
        examples=grouped.examples,
        crops=cropped.crops,
        drawn=cropped.drawn,
    )
    comparison = comparison_of(flags, reference, device, bars, first.facts.needs_captions)
    options = replace(options, validation_prompts=first.validation_prompts)
    found = []
    for run, subject in subjects.items():
        bars.file = AuditProgressFile(RunDir(run))
        # The same pictures, but each run has its own sizes and crops of them.
        theirs = subject.reference
        own = replace(reference, buckets=theirs.buckets, random_crops=theirs.random_crops)
        comparison.reference = own.with_record(RunDir(run))
        family = subject.load(device)
        for other, number in wanted:
            if other != run:
                continue
            weights = RunDir(run).model if number is None else RunDir(run).rounds / str(number)
            family.load_saved(weights)
            its = {"round": number, "weights": weights_sha256(weights)}
            target = subject.target.model_copy(update=its)
            report = audit_model(
                family, target, comparison, options, RunDir(run).audit_of(number),
                watch=subject.watch(number),
            )  # fmt: skip
            found.append((run, number, report))
        del family
        bars.file.clear()
    return found


def _open_first(run: Path, wanted: Sequence[tuple[Path, int | None]]) -> Subject:
    number = next(number for other, number in wanted if other == run)
    return open_run(run, number, {})


def _folder_for(runs: Sequence[Path]) -> Path:
    if len(runs) == 1:
        return runs[0] / "audit"
    return Path("memshield-compare")


def _write(
    folder: Path,
    reports: Sequence[Report],
    budget: float | None,
    alpha: float | None,
    choice: Choice | None,
) -> None:
    values = {
        "version": 1,
        "budget": budget,
        "alpha": alpha,
        "choice": None if choice is None else asdict(choice),
        "reports": [report.model_dump(mode="json") for report in reports],
    }
    write_text(folder / OWN_JSON, json.dumps(values, indent=1) + "\n")
    place = None if choice is None else choice.place
    reason = "" if choice is None else choice.reason
    # The plot is of the headline statistic: a budget on another one is no line in it.
    write_comparison(reports, folder / OWN_PAGE, budget if alpha is None else None, place, reason)


def _line(report: Report, alpha: float | None, chosen: bool) -> str:
    row = ModelRow.of(report, name_of(report))
    if alpha is not None and not report.generated.is_broken:
        row = replace(row, excess=excess_of(report, alpha), excess_interval=None)
    figures = (
        f"{column.heading_for(report)} {column.cell(row)}"
        for column in COLUMNS
        if column.is_shown(View.LINE, report)
    )
    return f"{'*' if chosen else ' '} {row.name:<32} " + "   ".join(figures)


def _promote(path: Path, number: int | None, choice: Choice) -> None:
    if not choice.within:
        raise UserError("--promote", choice.reason, "Nothing was promoted.")
    if number is None:
        print(f"The chosen model is {path / 'model'} as it is.")
        return
    run = RunDir(path)
    promote_alone(run, number, choice.reason)
    print(f"Round {number} is now {run.model}")
