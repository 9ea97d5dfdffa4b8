"""How many pictures an audit needs, and generates by default. No torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from memshield.audit.stats.calibration import LEVELS
from memshield.audit.stats.memorization import NEAREST
from memshield.config.file import Config
from memshield.data.examples import Examples
from memshield.errors import UserError

Ints = npt.NDArray[np.int64]

LEAST_TRAINING = NEAREST
"""Training pictures below which distance ratios mean nothing."""
LEAST_HELD_OUT = LEVELS[-1][0]


def default_count(members: int, text: bool) -> int:
    """Pictures of the audit command: enough to see rare copies, few enough to wait for."""
    return min(1000, max(200, members)) if text else min(10_000, max(1000, 2 * members))


def count_of_round(config: Config, members: int) -> int:
    """Pictures of an audit while training: fewer, because every round waits for them."""
    return config.audit_num_images or min(1000, max(200, members))


def audits_of_run(config: Config) -> int:
    """Rounds that are audited while training."""
    every = config.audit_interval
    # The last one is audited in any case: it is a model like the others to choose from.
    return 0 if every is None else -(-config.num_rounds // every)


def controls(examples: Examples, index: Ints) -> Ints:
    """Of held-out pictures, the first of every duplicate group.

    Copies of each other are no independent controls: with them the thresholds' intervals, and so
    the verdicts, would be surer than they are.

    Args:
        examples: of the dataset.
        index: [m] of the pictures.
    """
    _, first = np.unique(examples.group[index], return_index=True)
    chosen: Ints = index[np.sort(first)]
    return chosen


def require_auditable(config: Config, examples: Examples) -> None:
    """Refuse a budget that no audit of this dataset could hold the training to.

    Raises:
        UserError: too few pictures are held out, or trained on.
    """
    held_out = controls(examples, examples.held_out())
    require_enough_to_audit(config, len(examples.members()), len(held_out))
    if config.audit_interval is not None:
        require_different(examples)


def require_different(examples: Examples) -> None:
    """Refuse training pictures that are all near-duplicates of each other.

    What a generated picture is compared with is the nearest training picture that is no duplicate
    of its nearest one.

    Raises:
        UserError: there is no such picture.
    """
    if len(set(examples.group[examples.members()].tolist())) < 2:
        raise UserError(
            "audit",
            "all training pictures are near-duplicates of each other, so nothing can be compared",
            "Add other pictures, or lower duplicate_distance.",
        )


def require_enough_to_audit(config: Config, members: int, held_out: int) -> None:
    """Refuse a budget that no audit of so many pictures could hold the training to.

    Raises:
        UserError: too few pictures are held out, or trained on.
    """
    if config.audit_interval is None:
        return
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
