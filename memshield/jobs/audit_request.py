"""The request for an audit of a run: what is valid, and the command that carries it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memshield.config.file import Config
from memshield.errors import UserError
from memshield.rundir import RunDir
from memshield.runs.promote import require_round

LEAST_PICTURES, MOST_PICTURES = 10, 10_000
"""Pictures that an audit may generate; more take days and narrow the intervals little."""
MOST_BESIDE = 5
"""Other runs beside one; with it and the base, as many as a plot has colours."""
ALL = "all"


@dataclass(frozen=True)
class AuditAsked:
    """A visitor's request for an audit; its values may be of any type and are not checked yet.

    Attributes:
        round: a number, `ALL` for every round, or None for the model.
        num_images: to generate; None for the audit's own number.
        beside: run directories, or base.
    """

    round: object
    num_images: object
    beside: Sequence[str]

    @property
    def reads(self) -> str:
        """Beginning of the paths in the run directory that it is about."""
        if self.round == ALL:
            return "rounds/"
        return "model/" if self.round is None else f"rounds/{self.round}/"

    def task(self, run: RunDir, config: Config) -> tuple[str, ...]:
        """The name of the command that audits, and its arguments behind the run.

        Args:
            run: to audit.
            config: of the run.

        Raises:
            UserError: there is no such model or round, or what is asked for cannot be had.
        """
        count = require_pictures(self.num_images)
        _require_beside(self.beside, config)
        if self.round == ALL:
            if not run.round_numbers():
                raise UserError("round", "there is no round yet", "Wait for its first one to end.")
            if self.beside:
                raise UserError(
                    "beside", "all rounds are set beside one another, and nothing else",
                    "Audit the model, or one round, to have others beside it.",
                )  # fmt: skip
            return ("compare", *_pictures(count))
        number = None if self.round is None else require_round(run, self.round)
        if number is None and not run.model.is_dir():
            raise UserError("round", "there is no such model yet", "Wait for it to be trained.")
        rounds = () if number is None else ("--round", str(number))
        beside = [word for other in self.beside for word in ("--beside", other)]
        return ("audit", *rounds, *_pictures(count), *beside)


def _pictures(count: int | None) -> tuple[str, ...]:
    return () if count is None else ("--num_images", str(count))


def require_pictures(count: object) -> int | None:
    """A number of pictures to generate; None for the audit's own.

    Raises:
        UserError: it is no whole number, or out of range.
    """
    if count is None:
        return None
    if isinstance(count, bool) or not isinstance(count, int):
        raise UserError("num_images", f"{str(count)[:40]!r} is no whole number", "Such as 1000.")
    if not LEAST_PICTURES <= count <= MOST_PICTURES:
        raise UserError(
            "num_images",
            f"must be from {LEAST_PICTURES} to {MOST_PICTURES:,}, is {str(count)[:40]}",
            "Leave it out for a number by the size of the set.",
        )
    return count


def _require_beside(beside: Sequence[str], config: Config) -> None:
    if len(beside) > MOST_BESIDE + 1:
        raise UserError("beside", f"{len(beside)} are too many to draw", f"At most {MOST_BESIDE}.")
    if "base" in beside and config.pretrained_model_name_or_path is None:
        raise UserError(
            "beside", "the run was trained from scratch: it has no base", "Take it out."
        )
