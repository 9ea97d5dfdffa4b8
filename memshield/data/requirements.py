"""What a config asks of its pictures, and the steps that follow from their numbers."""

from __future__ import annotations

from collections.abc import Sequence

from memshield.config.buckets import FIELD
from memshield.config.file import Config
from memshield.data.buckets import Buckets
from memshield.data.examples import Examples
from memshield.data.split import LEAST_WATCHED
from memshield.errors import UserError
from memshield.families.facts import Facts
from memshield.quantities import plural
from memshield.step_budget import StepBudget, largest_remainder, steps_of_run


def budget_of(config: Config, examples: Examples) -> StepBudget:
    """The steps of a run.

    Raises:
        UserError: there are fewer steps than shards and rounds need.
    """
    return budget_of_shards(config, examples.shard_sizes())


def budget_of_shards(config: Config, sizes: Sequence[int]) -> StepBudget:
    """The steps of a run whose shards hold so many pictures each.

    Raises:
        UserError: there are fewer steps than shards and rounds need.
    """
    batch = config.train_batch_size * config.gradient_accumulation_steps
    total = steps_of_run(sum(sizes), config.num_train_epochs, batch, config.max_train_steps)
    # A shard's steps are spread evenly over the rounds: none is without one from as many on.
    if min(largest_remainder(total, sizes)) < config.num_rounds:
        raise UserError(
            "num_rounds",
            f"{plural(total, 'step')} cannot give each of {plural(config.num_shards, 'shard')} "
            f"one in every of {plural(config.num_rounds, 'round')}",
            "Lower num_rounds or num_shards, or train for more epochs.",
        )
    return StepBudget.split(total, sizes, config.num_rounds)


def require_enough_watched(watched: int, usable: int, config: Config) -> None:
    """Refuse to judge noise levels by too few pictures, of so many usable ones.

    Raises:
        UserError: the config needs a watch and has too few pictures for it.
    """
    if config.watches and watched < LEAST_WATCHED:
        needs = "stop_levels" if config.stop_levels else "loss_bank_reference: held_out"
        raise UserError(
            "watch_fraction",
            f"{needs} needs at least {LEAST_WATCHED} pictures that are not trained on, and "
            f"{watched} of {usable} are watched",
            "Raise watch_fraction, add pictures, or leave it out.",
        )


def require_a_picture_a_shard(members: int, usable: int, config: Config) -> None:
    """Refuse more shards than there are pictures to train on, of so many usable ones.

    Raises:
        UserError: there are more.
    """
    if members < config.num_shards:
        raise UserError(
            "num_shards",
            f"{config.num_shards} shards, but only {plural(members, 'picture')} to train on "
            f"(of {usable})",
            "Lower num_shards, held_out_fraction or watch_fraction, or add pictures.",
        )


def require_full_batches(smallest: int, config: Config) -> None:
    """Refuse shards that do not fill a step: their pictures would come twice in it.

    Args:
        smallest: pictures in the smallest shard.
        config: settings.

    Raises:
        UserError: it holds fewer than a step takes.
    """
    images_a_step = config.train_batch_size * config.gradient_accumulation_steps
    if smallest < images_a_step:
        raise UserError(
            "train_batch_size",
            f"the smallest shard has {plural(smallest, 'picture')}, fewer than a step takes "
            f"({config.train_batch_size} x {config.gradient_accumulation_steps})",
            "Lower train_batch_size, gradient_accumulation_steps or num_shards.",
        )


def require_full_buckets(examples: Examples, config: Config) -> None:
    """Refuse buckets that do not fill a batch in a shard: their pictures would come twice in it.

    Raises:
        UserError: naming the buckets and how many pictures they have.
    """
    buckets = Buckets.of(config, examples)
    if buckets is None:
        return
    shards = [
        dict(buckets.counts(examples.of_shard(shard))) for shard in range(examples.num_shards)
    ]
    batch = config.train_batch_size
    short = []
    for size, pictures in buckets.counts(examples.members()):
        least = min(shard[size] for shard in shards if size in shard)
        if least < batch:
            share = f", {least} of them in one of {len(shards)} shards" if len(shards) > 1 else ""
            short.append(f"{size} has {plural(pictures, 'picture')}{share}")
    if short:
        shown = "".join(f"\n  {words}" for words in short)
        raise UserError(
            FIELD,
            f"a batch takes {batch} pictures of one bucket (height,width), and fewer are in "
            f"{len(short)} of them:{shown}",
            "Lower train_batch_size (and raise gradient_accumulation_steps instead), name other "
            "buckets than these so that their pictures go to the nearest ones"
            + (", or lower num_shards." if len(shards) > 1 else "."),
        )


def can_cache(config: Config, facts: Facts, examples: Examples) -> bool:
    """Whether encodings are cached.

    Raises:
        UserError: the config asks for it and crops are random.
    """
    if not facts.needs_captions or config.cache_latents is False:
        return False
    fixed, shape = config.center_crop, "square"
    if not fixed:
        buckets = Buckets.of(config, examples)
        fixed = examples.all_square() if buckets is None else buckets.need_no_crop(examples)
        shape = "square" if buckets is None else "of the shapes of their buckets"
    if config.cache_latents and not fixed:
        raise UserError(
            "cache_latents",
            f"pictures are not {shape} and crops are random, so encodings cannot be kept",
            "Set center_crop, or leave cache_latents out.",
        )
    return fixed
