"""Audits while training: stop when the budget is crossed, and keep the best round under it."""

from __future__ import annotations

from functools import cached_property

from memshield.audit.auditing import (
    REPORT,
    Options,
    audit_model,
    default_count,
    mitigation_of,
    note_of,
)
from memshield.audit.calibration import LEVELS
from memshield.audit.choose import choose, excess_of, is_broken
from memshield.audit.comparison import Comparison
from memshield.audit.examine import LEAST_TRAINING
from memshield.audit.reference import Reference, shown_name
from memshield.audit.report import Report, Target, percent
from memshield.config import Config
from memshield.data.examples import Examples
from memshield.data.source import Source
from memshield.errors import UserError
from memshield.families import Facts
from memshield.families.base import Family
from memshield.rundir import EventLog, RunDir
from memshield.stop import StopRequest

LEAST_HELD_OUT = LEVELS[-1][0]


def require_auditable(config: Config, examples: Examples) -> None:
    """Refuse a budget that no audit of this dataset could hold the training to.

    Raises:
        UserError: too few pictures are held out, or trained on.
    """
    if config.audit_interval is None:
        return
    held_out, members = len(examples.held_out()), len(examples.members())
    if members < LEAST_TRAINING:
        raise UserError(
            "audit_every_rounds",
            f"{members} training pictures are too few to audit, {LEAST_TRAINING} are the least",
            "Leave it and memorization_budget out, or add pictures.",
        )
    if config.memorization_budget is not None and held_out < LEAST_HELD_OUT:
        raise UserError(
            "memorization_budget",
            f"{held_out} held-out pictures are too few to say what happens by chance, "
            f"{LEAST_HELD_OUT} are the least",
            "Raise held_out_fraction, or leave the budget out.",
        )


class RoundAudits:
    """Audits rounds of a run as they end, with the weights that the family then has.

    Args:
        config, facts, source, examples: of the run.
        run: the run directory.
        family: whose weights are audited.
        events: is told of every audit.
        stop: ends an audit half-way; the pictures made so far are kept.
    """

    def __init__(
        self,
        config: Config,
        facts: Facts,
        source: Source,
        examples: Examples,
        run: RunDir,
        family: Family,
        events: EventLog,
        stop: StopRequest,
    ) -> None:
        self.config = config
        self.facts = facts
        self.run = run
        self._pictures = source, examples
        self._family = family
        self._events = events
        self._stop = stop

    def __call__(self, number: int) -> bool:
        """Audit a round; pictures that were made before a stop are used. Whether to train on.

        Raises:
            Stopped: the run was asked to stop.
        """
        comparison = self._comparison
        comparison.reference = comparison.reference.with_record(self.run)
        report = audit_model(
            self._family, self._target(number), comparison, self._options,
            self.run.audit_of(number),
        )  # fmt: skip
        self._events.write("audit", round=number, **note_of(report))
        budget, excess = self.config.memorization_budget, excess_of(report)
        return budget is None or excess is None or excess <= budget

    def choice(self, last: int) -> tuple[int, str | None]:
        """The round to keep, and why it is not simply the last one.

        Args:
            last: number of the last round that has ended.
        """
        budget = self.config.memorization_budget
        if budget is None:
            return last, None
        reports: dict[int, Report] = {}
        for number in range(1, last + 1):
            path = self.run.audit_of(number) / REPORT
            if path.is_file():
                reports[number] = Report.read(path)
        if not reports:
            return last, None
        numbers = list(reports)
        chosen = choose(list(reports.values()), budget)
        reason = f"round {numbers[chosen.place]} is kept: {chosen.reason}"
        newest = reports[numbers[-1]]
        excess = excess_of(newest)
        if is_broken(newest):
            reason = f"{newest.verdict} {reason}"
        elif excess is not None and excess > budget:
            reason = (
                f"round {numbers[-1]} gives back {percent(excess)} more than chance, over the "
                f"budget of {percent(budget)}; {reason}"
            )
        return numbers[chosen.place], reason

    def _target(self, number: int) -> Target:
        config = self.config
        return Target(
            name=self.run.path.resolve().name,
            kind="run",
            round=number,
            base=shown_name(config.pretrained_model_name_or_path),
            revision=config.revision,
            mitigation=mitigation_of(config),
        )

    @cached_property
    def _comparison(self) -> Comparison:
        reference = Reference.of_run(self.config, self.facts.channels, *self._pictures, self.run)
        comparison = Comparison(reference, self._family.device, progress=self._told)
        comparison.open()
        return comparison

    @cached_property
    def _options(self) -> Options:
        # Fewer than the audit command makes of pixels: they are waited for round by round.
        members = len(self._pictures[1].members())
        count = self.config.audit_num_images or min(1000, default_count(members, text=True))
        return Options(
            num_images=count,
            seed=self.config.seed,
            steps=self.config.num_inference_steps,
            attacks=False,
        )

    def _told(self, what: str, done: int, total: int) -> None:
        self._stop.obey()
