"""The audits of a run and of those beside it, and the choices that they allow. No gradio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from memshield.audit.choose import Choice, choose, excess_of
from memshield.audit.report import PRIVATE, Report, percent
from memshield.errors import UserError
from memshield.jobs.audit_request import ALL, MOST_BESIDE
from memshield.jobs.records import Job
from memshield.jobs.service import Jobs
from memshield.rundir import RunDir
from memshield.runs.reports import BASE, read_audit, read_rounds
from memshield.ui.runs.at_risk import at_risk_view
from memshield.ui.runs.comparison import Beside, comparable
from memshield.ui.runs.text_inputs import parse_share, unique_texts
from memshield.ui.widgets.audit import audit_view, earlier_view, rounds_view
from memshield.ui.widgets.problems import problems_view

MODEL, BY_BUDGET = "model", "budget"
LABELS = {
    "round": "Model or round",
    "num_images": "Pictures to generate",
    "beside": "Shown beside it",
    "place": "Where to audit",
    "budget": "Budget",
    "number": "Round to keep",
}
Choices = list[tuple[str, str]]


@dataclass(frozen=True)
class AuditSelection:
    """What a visitor wants to see of a run's audits.

    Attributes:
        round: number of the shown round; None for the model.
        budget: largest excess of a round to keep; None for no budget.
        beside: ids of the audits shown beside it.
        problem: with the budget.
    """

    round: int | None
    budget: float | None
    beside: tuple[str, ...]
    problem: UserError | None

    @classmethod
    def of(cls, what: object, budget: object, beside: object) -> AuditSelection:
        """Read the page's inputs, of any type and text."""
        chosen, number = tuple(unique_texts(beside)), round_of(what)
        try:
            return cls(number, parse_share(budget, LABELS["budget"]), chosen, None)
        except UserError as error:
            return cls(number, None, chosen, error)


@dataclass(frozen=True)
class Audits:
    """The audits of a run and of those beside it.

    Attributes:
        run: the run directory.
        report: of the shown model or round; None if it was not audited.
        problem: why the report cannot be read.
        rounds: reports by round.
        others: audits that can be shown beside it.
    """

    run: RunDir
    report: Report | None
    problem: UserError | None
    rounds: dict[int, Report]
    others: list[Beside]

    @classmethod
    def of(cls, jobs: Jobs, owner: str, job: Job, round: int | None) -> Audits:
        """Read the audits.

        Args:
            jobs: of all owners.
            owner: of the run.
            job: of the run.
            round: the shown round; None for the model.
        """
        run = jobs.folders.run(job)
        rounds, problem, report = read_rounds(run), None, None
        try:
            report = read_audit(run, round)
        except UserError as error:
            problem = error
        first = next((one for one in (report, *rounds.values()) if one is not None), None)
        return cls(run, report, problem, rounds, comparable(jobs, owner, job, first))

    @property
    def any(self) -> bool:
        """Whether there is anything to show."""
        return self.problem is not None or self.report is not None or bool(self.rounds)

    def choice(self, budget: float | None) -> tuple[int, Choice] | None:
        """The round that a budget chooses, and why; None without a budget or audited rounds."""
        if budget is None or not self.rounds:
            return None
        found = choose(list(self.rounds.values()), budget)
        return list(self.rounds)[found.place], found

    def audit_view(self, selection: AuditSelection, going: bool = False) -> str:
        """The audit of the model or round, with those beside it.

        Args:
            selection: the inputs.
            going: whether another audit runs, whose result will take its place.
        """
        if self.problem is not None:
            return problems_view(self.problem)
        beside = {one.name: one.report for one in self.others if one.id in selection.beside}
        name = "this model" if selection.round is None else f"round {selection.round} of this run"
        shown = audit_view(self.report, beside, name, selection.budget)
        if not going or self.report is None:
            return shown
        return earlier_view(shown, self.report.made)

    def rounds_view(self, selection: AuditSelection) -> str:
        """The rounds, and the one that the budget would choose."""
        if not self.run.round_numbers():
            return ""
        shown = rounds_view(self.rounds, selection.budget, self.run.round_of_model())
        return shown if selection.problem is None else problems_view(selection.problem) + shown

    def risk_view(self, selection: AuditSelection) -> str:
        """The training pictures at risk, for their owner only."""
        if self.report is None:
            return ""
        # The model's audit may be a copy of a round's, whose private part stayed with the round.
        numbers = {selection.round, self.report.target.round}
        folders = [self.run.audit_of(selection.round), *map(self.run.audit_of, numbers)]
        return at_risk_view(next((one for one in folders if _is_private(one)), folders[0]))

    def to_audit(self) -> Choices:
        """List what can be audited and shown."""
        numbers = self.run.round_numbers()
        model = self.run.round_of_model()
        words = f" (round {model})" if model is not None else ""
        if not self.run.model.is_dir():
            words = ", which does not exist yet"
        found = [(f"The model{words}", MODEL)]
        for number in numbers:
            audited = "audited" if number in self.rounds else "not audited yet"
            found.append((f"Round {number}, {audited}", str(number)))
        return found if not numbers else [*found, ("All rounds, to choose one of them", ALL)]

    def to_keep(self, selection: AuditSelection) -> Choices:
        """List the rounds that can be made the model."""
        found = self.choice(selection.budget)
        words = "By the budget"
        if found is not None:
            number, choice = found
            words += f": round {number}" if choice.within else ": none is within it"
        return [
            (words, BY_BUDGET),
            *((f"Round {number}, {self._said(number)}", str(number))
              for number in self.run.round_numbers()),
        ]  # fmt: skip

    def keep(self, number: object, budget: object) -> tuple[int, str]:
        """Return the round to keep, and why.

        Args:
            number: `BY_BUDGET`, or a round chosen by hand; of any type.
            budget: as typed; of any type.

        Raises:
            UserError: the budget is not a share, or no round is within it.
        """
        if number not in (BY_BUDGET, None, ""):
            by_hand = round_of(number)
            if by_hand is None:
                raise UserError(
                    LABELS["number"], f"there is no round {str(number)[:40]!r}", "Choose another."
                )
            return by_hand, f"chosen by hand, {self._said(by_hand)}"
        found = self.choice(parse_share(budget, LABELS["budget"]))
        if found is None:
            raise UserError(
                LABELS["budget"],
                "no round was audited, so it cannot choose one"
                if not self.rounds
                else "is empty, so it cannot choose a round",
                "Audit all rounds first, or choose a round by hand."
                if not self.rounds
                else "Type one, such as 0.02, or choose a round by hand.",
            )
        chosen, choice = found
        if not choice.within:
            raise UserError(
                LABELS["budget"],
                f"{choice.reason}, of round {chosen}",
                "Nothing was changed. Choose a round by hand to keep it all the same.",
            )
        return chosen, choice.reason

    def _said(self, number: int) -> str:
        """Say in a few words how much a round gives back."""
        report = self.rounds.get(number)
        if report is None:
            return "not audited"
        if report.generated.is_broken:
            return "broken by its audit"
        excess = excess_of(report)
        if excess is None:
            return "its audit cannot say what it gives back"
        beyond = f"{percent(excess)} beyond chance" if excess > 0 else "no more than chance"
        return f"gives back {beyond}"


def shown_beside(
    others: Sequence[Beside], chosen: Sequence[str], before: Sequence[str] | None
) -> list[str]:
    """Choose the audits to show beside a run: those that the visitor kept, and new ones.

    Args:
        others: all that can be shown.
        chosen: ids of those that are shown.
        before: ids of those that could be shown so far; None if nothing was chosen yet.
    """
    ids = [
        one.id
        for one in others
        if before is None or one.id not in before or one.id in chosen
    ]  # fmt: skip
    runs = [id for id in ids if id != BASE]
    return [id for id in ids if id == BASE or id in runs[:MOST_BESIDE]]


def round_of(value: object) -> int | None:
    """The round that an input names, or None."""
    text = value if isinstance(value, str) else ""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _is_private(folder: Path) -> bool:
    return (folder / PRIVATE).is_file()
