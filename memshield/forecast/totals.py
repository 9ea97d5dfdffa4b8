"""The totals of a training from its settings and the number of pictures. No download."""

from __future__ import annotations

from dataclasses import dataclass

from memshield.audit.sample_size import audits_of_run, count_of_round, require_enough_to_audit
from memshield.config.file import Config
from memshield.data.requirements import (
    budget_of_shards,
    require_a_picture_a_shard,
    require_enough_watched,
    require_full_batches,
)
from memshield.errors import UserError
from memshield.forecast.size_defaults import split_of
from memshield.quantities import plural
from memshield.step_budget import StepBudget, largest_remainder

MOST_TURNS = 1_000_000
"""Rounds times shards."""


@dataclass(frozen=True)
class Numbers:
    """The totals of a training, if no picture is broken or a duplicate.

    Attributes:
        members: pictures to train on.
        held_out: pictures kept back for the audit.
        watched: pictures on which the held-out loss is watched while training.
        shards: pictures in each shard; strata and duplicates move a few from one to another.
        steps: optimizer steps in all; None where there are too few for the shards and rounds.
        steps_a_round: fewest and most steps of a round; None as `steps`.
        epochs: how often every picture is seen; None as `steps`.
        rounds: of averaging.
        audits: while training.
        audit_images: pictures that each of them generates.
        problems: why it could not be trained so; fields are names of settings.
    """

    members: int
    held_out: int
    watched: int
    shards: tuple[int, ...]
    steps: int | None
    steps_a_round: tuple[int, int] | None
    epochs: float | None
    rounds: int
    audits: int
    audit_images: int
    problems: tuple[UserError, ...]

    def lines(self) -> list[str]:
        """In words, a line each."""
        few, many = min(self.shards), max(self.shards)
        shards = f"{few:,}" if few == many else f"{few:,} to {many:,}"
        lines = [
            f"{self.members:,} pictures to train on, {self.held_out:,} held out for the audit"
            + (f", {self.watched:,} watched while training" if self.watched else ""),
            f"{len(self.shards)} shards of {shards} pictures"
            if len(self.shards) > 1
            else "one shard with all pictures: nothing is averaged",
        ]
        if self.steps is not None and self.steps_a_round is not None:
            low, high = self.steps_a_round
            each = f"{low:,}" if low == high else f"{low:,} to {high:,}"
            rounds = f"{each} in each of {self.rounds:,} rounds"
            lines.append(
                f"{self.steps:,} steps in all ({self.epochs:.1f} epochs), "
                + (rounds if self.rounds > 1 else "in one round")
            )
        if self.audits:
            lines.append(
                f"{plural(self.audits, 'audit')} of {self.audit_images:,} generated pictures"
            )
        return lines


def _require_few_turns(config: Config) -> None:
    # A list of these is made, here and in training.
    turns = config.num_rounds * config.num_shards
    if turns > MOST_TURNS:
        raise UserError(
            "num_rounds",
            f"{config.num_rounds:,} rounds of {config.num_shards:,} shards are {turns:,} turns, "
            f"{MOST_TURNS:,} are the most on a page",
            "Lower num_rounds or num_shards.",
        )


def numbers(config: Config, rows: int) -> Numbers:
    """Count the totals of a training on so many pictures.

    Args:
        config: settings.
        rows: pictures of the split.
    """
    usable = min(rows, config.max_train_samples or rows)
    members, held_out, watched = split_of(
        usable, config.held_out_fraction, config.watch_fraction, config.watches
    )
    shards = tuple(largest_remainder(members, [1] * config.num_shards))
    problems: list[UserError] = []
    budget: StepBudget | None = None
    try:
        require_enough_watched(watched, usable, config)
        require_a_picture_a_shard(members, usable, config)
        _require_few_turns(config)
        budget = budget_of_shards(config, shards)
    except UserError as error:
        problems.append(error)
    if min(shards) > 0:
        try:
            require_full_batches(min(shards), config)
        except UserError as error:
            problems.append(error)
    try:
        require_enough_to_audit(config, members, held_out)
    except UserError as error:
        problems.append(error)
    steps = a_round = epochs = None
    if budget is not None:
        steps, sums = budget.total, [sum(row) for row in budget.steps]
        a_round = (min(sums), max(sums))
        epochs = steps * config.train_batch_size * config.gradient_accumulation_steps / members
    return Numbers(
        members=members,
        held_out=held_out,
        watched=watched,
        shards=shards,
        steps=steps,
        steps_a_round=a_round,
        epochs=epochs,
        rounds=config.num_rounds,
        audits=audits_of_run(config),
        audit_images=count_of_round(config, members),
        problems=tuple(problems),
    )
