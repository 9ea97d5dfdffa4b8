"""What is recommended for a training, from what was measured. No torch.

The figures are those of tests/bench/results/tradeoff, and of arXiv 2407.15328 where it is named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from memshield.config.file import Config

MEASURED_A_SHARD = 25
"""Pictures a shard with which averaging was measured without captions, and lost to plain
training."""
FEW_A_SHARD = 100
"""Pictures a shard below which it is advised against; between here and the paper's smallest, 473,
one training is known: with 250 it lost, too."""
LEAST_HELD_OUT = 60
"""Held-out pictures with which an audit can say what happens by chance; see
`memshield.audit.stats.calibration.LEVELS`."""
MOST_HELD_OUT = 0.4
"""Largest share of a set that it is advised to hold out."""
COPIES_AFTER = {True: 500, False: 250}
"""Passes over 100 pictures after which plain training gave some back: from scratch, fine-tuned."""

MEASURED_LEVEL = 1.24
MEASURED_SHARE = {False: 0.1, True: 0.8}
"""Share of draws below that level that was measured to be better than plain training: without
captions, and with them."""
FEW_LOW = 0.3
"""Share of draws at low noise below which a text model has fewer than plain training has in Stable
Diffusion (0.42) and in flow matching without a shift (0.55 to 0.59)."""
MANY_LOW = 0.6
"""Share above which any model has more."""
MOST_LOST = 0.2
"""Share of its area that the median picture may lose in a square. One of 4:3 loses a quarter, one
of 3:2 a third; in aspect buckets no picture up to 2:1 loses more than 11 %."""


@dataclass(frozen=True)
class Situation:
    """What a training is like.

    Attributes:
        pictures: trained on.
        shards: that they are split into.
        text: whether the model is conditioned on text (and denoises latents).
        scratch: whether it is trained from scratch.
        passes: over the pictures; None where it is not known.
        settings: of the run, by name.
        held_out: pictures that an audit compares with; None where it is not known.
        lost: share of its area that the median picture loses in a square; None where it is not
            known.
        steps: of the whole run; None where they are not known.
    """

    pictures: int
    shards: int
    text: bool
    scratch: bool
    passes: float | None
    settings: Mapping[str, Any]
    held_out: int | None = None
    lost: float | None = None
    steps: int | None = None

    @classmethod
    def of(
        cls,
        config: Config,
        pictures: int,
        steps: int | None,
        text: bool,
        held_out: int | None,
        lost: float | None = None,
    ) -> Situation:
        """That of a config, once its pictures and steps are known."""
        batch = config.train_batch_size * config.gradient_accumulation_steps
        return cls(
            pictures=pictures,
            shards=config.num_shards,
            text=text,
            scratch=config.pretrained_model_name_or_path is None,
            passes=None if steps is None else steps * batch / max(1, pictures),
            settings=config.model_dump(),
            held_out=held_out,
            lost=lost,
            steps=steps,
        )


@dataclass(frozen=True)
class Advice:
    """One thing to do otherwise.

    Attributes:
        words: why, for a person.
        settings: that follow it, by name.
    """

    words: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """For a terminal."""
        settings = ", ".join(f"{name}: {value}" for name, value in self.settings.items())
        return f"advice        {self.words}" + (f" ({settings})" if settings else "")


def advice_for(situation: Situation) -> list[Advice]:
    """What is recommended; nothing where a training is as recommended."""
    checks = (
        few_held_out, few_a_shard, draws_alike, draws_with_captions, many_passes, cut_to_squares,
        long_warm_up,
    )  # fmt: skip
    return [found for check in checks if (found := check(situation)) is not None]


def advice_on_memorization(situation: Situation) -> list[Advice]:
    """What of it concerns memorization, for who reads of a training that has been done."""
    checks = (few_a_shard, draws_alike, draws_with_captions, many_passes)
    return [found for check in checks if (found := check(situation)) is not None]


def few_held_out(one: Situation) -> Advice | None:
    """So few pictures held out that nothing can be said of the model afterwards."""
    if one.held_out is None or one.held_out >= LEAST_HELD_OUT:
        return None
    total = one.pictures + one.held_out
    there = "No picture is" if one.held_out == 0 else f"Only {one.held_out} pictures are"
    if one.held_out == 1:
        there = "Only one picture is"
    problem = (
        f"{there} held out of the training. An audit needs {LEAST_HELD_OUT} to say whether the "
        "model gives pictures back"
    )
    share = math.ceil(100 * LEAST_HELD_OUT / max(1, total)) / 100
    if share > MOST_HELD_OUT:
        return Advice(
            f"{problem}, and this set is too small to spare them: add pictures, or give the audit "
            f"{LEAST_HELD_OUT} others of the same kind. Otherwise nobody will know."
        )
    return Advice(
        f"{problem}: hold {share:.0%} of the {total:,} pictures back. Otherwise nobody will know.",
        {"held_out_fraction": share},
    )


def few_a_shard(one: Situation) -> Advice | None:
    """Shards so small that averaging did not pay where it was measured."""
    # With captions too little was measured to say so.
    each = one.pictures // max(1, one.shards)
    if one.text or one.shards == 1 or each >= FEW_A_SHARD:
        return None
    return Advice(
        f"Shards hold {each:,} pictures each. With so few, averaging them cost quality from "
        "scratch, and gained none for sure when fine-tuning (measured with "
        f"{MEASURED_A_SHARD} a shard): train in one shard.",
        {"num_shards": 1},
    )


def draws_alike(one: Situation) -> Advice | None:
    """A pixel model whose noise levels are all drawn alike, or low noise more often."""
    share = _share(one)
    if one.text or not (share is None or share > MANY_LOW):
        return None
    return Advice(
        "With a tenth of the draws at low noise, models gave less back after as many samples. From "
        "scratch, where copies limited how long they could learn, they became better in the end, "
        "after about half as many samples again.",
        {"timestep_bias_share": MEASURED_SHARE[False]},
    )


def draws_with_captions(one: Situation) -> Advice | None:
    """A text model whose noise levels are all drawn alike, or high noise more often."""
    share = _share(one)
    if not one.text or not (share is None or share <= MANY_LOW):
        return None
    few = (
        "few draws at low noise gave more back than plain training, and sooner"
        if share is not None and share <= FEW_LOW
        else "copies are learned at high noise: with a fifth of the draws there, less was given "
        "back in the end"
    )
    return Advice(
        f"With captions, {few} (measured with a LoRA of a small latent model). Draw four fifths "
        "of the samples at low noise.",
        {"timestep_bias_share": MEASURED_SHARE[True]},
    )


def _share(one: Situation) -> float | None:
    """Share of the draws at low noise; NaN where it is a stranger's, or of a level not measured."""
    share = one.settings.get("timestep_bias_share")
    if share is None:
        return None
    level = one.settings.get("timestep_bias_level", MEASURED_LEVEL)
    if type(share) not in (int, float) or level != MEASURED_LEVEL:
        return math.nan
    return float(share) if 0 <= share <= 1 else math.nan


def many_passes(one: Situation) -> Advice | None:
    """So many passes that plain training would give pictures back, and nobody looks."""
    # Copying is put off in proportion to the number of pictures (arXiv 2505.16959): passes count.
    most = COPIES_AFTER[one.scratch]
    budget = one.settings.get("memorization_budget")
    if one.passes is None or one.passes <= most or budget is not None:
        return None
    return Advice(
        f"Every picture is seen {one.passes:,.0f} times. With 100 pictures, plain training gave "
        f"some back after about {most}: set a memorization budget, so that audits stop it in "
        "time, or train for less.",
        {"memorization_budget": 0.02},
    )


def cut_to_squares(one: Situation) -> Advice | None:
    """Pictures that lose much of themselves in a square, and could keep their shapes."""
    # Models without prompts make pictures of one size.
    if not one.text or one.lost is None or one.lost <= MOST_LOST:
        return None
    if one.settings.get("aspect_ratio_buckets"):
        return None
    return Advice(
        f"Half of the pictures lose {one.lost:.0%} of their area or more when they are cut to "
        "squares: let them keep their shapes in aspect buckets.",
        {"aspect_ratio_buckets": "auto"},
    )


def long_warm_up(one: Situation) -> Advice | None:
    """A warm-up that does not end within the run; refused where the config says how long that is.

    Not refused here: recipes are for sets of any size.
    """
    warm_up, kind = one.settings.get("lr_warmup_steps", 0), one.settings.get("lr_scheduler")
    if one.steps is None or kind == "constant" or warm_up <= one.steps:
        return None
    return Advice(
        f"The learning rate warms up over {warm_up:,} steps, and the training has {one.steps:,}: "
        "it ends before the learning rate is reached. Warm up for a tenth of it.",
        {"lr_warmup_steps": one.steps // 10},
    )
