"""Audits while training: stop when the budget is crossed, and keep the best round under it."""

from __future__ import annotations

from functools import cached_property

from memshield.audit.auditing import Options, audit_model, mitigation_of, note_of
from memshield.audit.choose import choose, excess_of, is_over
from memshield.audit.measurement import ModelMeasurer
from memshield.audit.progress_file import AuditProgressFile
from memshield.audit.reference import Reference, shown_name
from memshield.audit.report import REPORT, AuditedModel, Report, percent
from memshield.audit.sample_size import count_of_round
from memshield.audit.subject import watch_of
from memshield.config.file import Config
from memshield.data.examples import Examples
from memshield.data.source import Source
from memshield.digests import weights_sha256
from memshield.families import Facts
from memshield.families.base import Family
from memshield.rundir import EventLog, RunDir
from memshield.training.interruption import StopRequest
from memshield.training.ranks import Ranks


class RoundAudits:
    """Audits rounds of a run as they end, with the weights that the family then has.

    Args:
        config, facts, source, examples: of the run.
        run: the run directory.
        family: whose weights are audited.
        events: is told of every audit.
        stop: ends an audit half-way; the pictures made so far are kept.
        ranks: any of which may be asked to stop.
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
        ranks: Ranks,
    ) -> None:
        self.config = config
        self.facts = facts
        self.run = run
        self._pictures = source, examples
        self._family = family
        self._events = events
        self._stop = stop
        self._ranks = ranks
        self._progress = AuditProgressFile(run)

    def __call__(self, number: int) -> bool:
        """Audit a round; pictures that were made before a stop are used. Whether to train on.

        Raises:
            Stopped: the run was asked to stop.
        """
        try:
            comparison = self._comparison
            comparison.reference = comparison.reference.with_record(self.run)
            report = audit_model(
                self._family, self._target(number), comparison, self._options,
                self.run.audit_of(number),
                watch=watch_of(self.run, self.config, self._pictures[1], number),
                waiting=self._heed_stop,
            )  # fmt: skip
        finally:
            self._progress.clear()
        self._events.write("audit", round=number, **note_of(report))
        budget = self.config.memorization_budget
        return budget is None or not is_over(report, budget)

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
        if newest.generated.is_broken:
            reason = f"{newest.verdict} {reason}"
        elif excess is not None and is_over(newest, budget):
            reason = (
                f"round {numbers[-1]} gives back {percent(excess)} more than chance, over the "
                f"budget of {percent(budget)}; {reason}"
            )
        return numbers[chosen.place], reason

    def _target(self, number: int) -> AuditedModel:
        config = self.config
        return AuditedModel(
            name=self.run.path.resolve().name,
            kind="run",
            round=number,
            base=shown_name(config.pretrained_model_name_or_path),
            revision=config.revision,
            mitigation=mitigation_of(config),
            weights=weights_sha256(self.run.rounds / str(number)),
        )

    @cached_property
    def _comparison(self) -> ModelMeasurer:
        reference = Reference.of_run(self.config, self.facts.channels, *self._pictures, self.run)
        comparison = ModelMeasurer(reference, self._family.device, progress=self._told)
        comparison.open()
        return comparison

    @cached_property
    def _options(self) -> Options:
        return Options(
            num_images=count_of_round(self.config, len(self._pictures[1].members())),
            seed=self.config.seed,
            steps=self.config.num_inference_steps,
            attacks=False,
        )

    def _heed_stop(self) -> None:
        if self._ranks.stop_wanted():
            self._stop.obey()

    def _told(self, what: str, done: int, total: int) -> None:
        self._heed_stop()
        self._progress(what, done, total)
