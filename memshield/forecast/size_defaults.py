"""Settings that follow from the number of pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from memshield.config.file import fields
from memshield.data.split import default_held_out_fraction, watched_fraction
from memshield.step_budget import steps_of_run

WARM_UP = 0.05
"""Share of the steps over which the learning rate rises."""

PIXELS_A_BATCH = 128 * 48**2
"""Of a pixel model: the recipe's 128 pictures of 32 pixels, 4 of 256 (18 GB of activations)."""


class SplitSizes(NamedTuple):
    """Pictures that are trained on, held out for audits, and watched while training."""

    members: int
    held_out: int
    watched: int


def split_of(
    rows: int, held_out: float | None, watched: float | None = None, watches: bool = False
) -> SplitSizes:
    """How so many pictures are split, if none is a duplicate.

    Args:
        rows: pictures.
        held_out, watched: shares, as the config has them.
        watches: whether the config needs a watch.
    """
    share = default_held_out_fraction(rows) if held_out is None else held_out
    kept_back = round(rows * share)
    seen = min(rows - kept_back, round(rows * watched_fraction(rows, watched, watches)))
    return SplitSizes(rows - kept_back - seen, kept_back, seen)


def fitted(values: Mapping[str, Any], rows: int, resolution: int | None = None) -> dict[str, Any]:
    """A batch that every shard can fill and a GPU can hold, and a warm-up by the steps.

    Values that no config would take count as their defaults: saying so is `make_config`'s part.

    Args:
        values: settings so far.
        rows: pictures of the split.
        resolution: of a pixel model, in pixels; None for a text model or where it is not known.
    """
    most = _whole(values, "max_train_samples")
    watches = bool(values.get("stop_levels")) or values.get("loss_bank_reference") == "held_out"
    members = split_of(
        min(rows, most or rows), _share(values, "held_out_fraction"),
        _share(values, "watch_fraction"), watches,
    ).members  # fmt: skip
    accumulated = _whole(values, "gradient_accumulation_steps") or 1
    room = most_at_once(resolution)
    shard = members // (_whole(values, "num_shards") or 1)
    batch = _whole(values, "train_batch_size") or 1
    while batch > max(1, min(room, shard // accumulated)):
        batch //= 2
    lowered = accumulated
    while lowered > 1 and batch * lowered > shard:
        lowered //= 2
    steps = steps_of_run(
        members,
        _whole(values, "num_train_epochs") or 1,
        batch * lowered,
        _whole(values, "max_train_steps"),
    )
    changed = {"gradient_accumulation_steps": lowered} if lowered < accumulated else {}
    return {"train_batch_size": batch, **changed, "lr_warmup_steps": round(WARM_UP * steps)}


def most_at_once(resolution: int | None) -> int:
    """Pictures of a pixel model that a GPU can hold in a batch."""
    return 2**16 if not resolution else max(1, PIXELS_A_BATCH // resolution**2)


def _share(values: Mapping[str, Any], name: str) -> float | None:
    """A share that a config takes, or None."""
    value = values.get(name)
    return value if isinstance(value, (int, float)) and 0 <= value <= 0.9 else None


def _whole(values: Mapping[str, Any], name: str) -> int | None:
    """A whole number above 0; its default where it is none."""
    value = values.get(name)
    if type(value) is int and value > 0:
        return value
    default = fields()[name].default
    return default if isinstance(default, int) else None
