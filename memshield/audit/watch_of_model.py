"""The watch of a run's held-out loss, up to the audited model."""

from __future__ import annotations

from memshield.audit.watch_record import WatchRecord
from memshield.config.file import Config
from memshield.data.examples import Examples
from memshield.data.requirements import budget_of
from memshield.rundir import RunDir


def watch_of(
    run: RunDir, config: Config, examples: Examples, round: int | None
) -> WatchRecord | None:
    """The watch of a run until a round ended; None where nothing was watched by then.

    Args:
        run: the run directory.
        config: its settings, resolved.
        examples: its table.
        round: number of the round; None for the run's model, a copy of one of them. Where it
            cannot be told which, the watch is that of the whole run.
    """
    record = WatchRecord.read(run.watch)
    if record is None:
        return None
    number = round if round is not None else run.round_of_model()
    if number is not None:
        record = record.until(budget_of(config, examples).round_end(number - 1))
    return record if record.checks else None
