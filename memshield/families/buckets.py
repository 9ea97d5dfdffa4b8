"""Aspect buckets that a model can take, and diffusers' own choice of them."""

from __future__ import annotations

import math

from memshield.config.buckets import AUTO, FIELD, Size, as_text, is_auto, sizes_of
from memshield.config.file import Config
from memshield.errors import UserError
from memshield.families.facts import Facts

_DIVISIBILITY = 16  # the default of diffusers' generator


def settle_sizes(config: Config, facts: Facts) -> Config:
    """Put sizes in the place of `auto`: those of diffusers' generator. Imports torch for them.

    So a run's own config says which they are, whatever a later diffusers would choose.

    Args:
        config: resolved settings.
        facts: of the model.

    Raises:
        UserError: the model cannot take them.
    """
    if not is_auto(config):
        return config
    from diffusers.training_utils import generate_aspect_ratio_buckets

    sizes = generate_aspect_ratio_buckets(
        int(config.resolution or facts.resolution),
        divisibility=math.lcm(_DIVISIBILITY, facts.multiple_of),
    )
    _require_positions(sizes, facts)
    return config.model_copy(update={FIELD: as_text(sizes)})


def checked_text(config: Config, facts: Facts) -> str | None:
    """The setting as it is kept: plain `auto`, or sizes that the model can take.

    Raises:
        UserError: it cannot take them, or none but its own.
    """
    text = config.aspect_ratio_buckets
    if text is None:
        return None
    if not facts.needs_captions:
        raise UserError(
            FIELD,
            "this model makes pictures of one size, its sample_size, which its saved pipeline "
            "draws too",
            "Leave it out.",
        )
    sizes = sizes_of(config)
    if not sizes:
        return AUTO
    by = facts.multiple_of
    wrong = [size for size in sizes if size[0] % by or size[1] % by]
    if wrong:
        nearest = [tuple(max(by, round(side / by) * by) for side in size) for size in wrong]
        raise UserError(
            FIELD,
            f"this model takes multiples of {by} pixels, and {as_text(wrong)} "
            + ("is none" if len(wrong) == 1 else "are none"),
            f"The nearest: {as_text([(h, w) for h, w in nearest])}.",
        )
    _require_positions(sizes, facts)
    return as_text(sizes)


def _require_positions(sizes: tuple[Size, ...] | list[Size], facts: Facts) -> None:
    """Refuse sides beyond the positions that the model has embeddings of."""
    most = facts.longest_side
    long = [size for size in sizes if most is not None and max(size) > most]
    if long:
        raise UserError(
            FIELD,
            f"this model knows positions up to {most} pixels, and {as_text(long)} is longer",
            "Leave it out, or lower its sides.",
        )
