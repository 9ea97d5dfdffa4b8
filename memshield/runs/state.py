"""The state of a run as data: what the page, the API and the jobs' view render."""

from __future__ import annotations

from dataclasses import dataclass

from memshield.audit.progress_file import AuditProgress
from memshield.audit.watch_record import WatchRecord
from memshield.runs.series import Dot


@dataclass(frozen=True)
class Figures:
    """The newest figures of the current attempt, each None where it is not known yet."""

    step: int | None = None
    total_steps: int | None = None
    round: int | None = None
    shard: int | None = None
    eta_s: float | None = None
    loss: float | None = None
    kept: float | None = None


@dataclass(frozen=True)
class RoundEnd:
    """The end of a round, with its means and its time; None where a resumption fell into it."""

    round: int
    step: int
    loss: float | None
    kept: float | None
    seconds: float | None


@dataclass(frozen=True)
class Audited:
    """The headline figures of a round's audit.

    Attributes:
        excess, excess_interval: share given back beyond chance; None where it cannot say.
        quality, quality_interval, measure, better: of the headline measure.
    """

    round: int
    excess: float | None
    excess_interval: tuple[float, float] | None
    quality: float | None
    measure: str | None
    quality_interval: tuple[float, float] | None = None
    better: str | None = None


@dataclass(frozen=True)
class RunProgress:
    """The state and the figures of a run.

    Attributes:
        state: as the run wrote it; None where it has not begun.
        attempt: number of the last start; 0 before the first.
        step, total: optimizer steps of the whole run; None where not known.
        round, rounds, shard, shards: numbers from 1, and how many there are.
        loss, kept: of the last steps; kept is the share of samples that were not skipped.
        eta_s: seconds left, by the pace of this attempt.
        elapsed_s: seconds that all attempts took until their last events.
        checkpoint: step of the last checkpoint.
        reason, error: how it ended, in words, and the kind of failure.
        losses, kept_by_shard: lines to draw.
        round_ends, audits: by round.
        pictures: facts that the scan found, each with its name.
        watch: the held-out loss by noise level; None where it is not watched.
        audit: how far an audit of it is, of a round or of its model; None where none runs.
    """

    state: str | None = None
    attempt: int = 0
    step: int = 0
    total: int | None = None
    round: int | None = None
    rounds: int | None = None
    shard: int | None = None
    shards: int | None = None
    loss: float | None = None
    kept: float | None = None
    eta_s: float | None = None
    elapsed_s: float = 0.0
    checkpoint: int | None = None
    reason: str | None = None
    error: str | None = None
    losses: tuple[Dot, ...] = ()
    kept_by_shard: tuple[tuple[int, tuple[Dot, ...]], ...] = ()
    round_ends: tuple[RoundEnd, ...] = ()
    audits: tuple[Audited, ...] = ()
    pictures: tuple[tuple[str, str], ...] = ()
    watch: WatchRecord | None = None
    audit: AuditProgress | None = None
