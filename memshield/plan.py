"""What a config would do, without training: `python -m memshield plan --config X`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from memshield.budget import Budget, steps_of_run
from memshield.config import Config
from memshield.data.examples import Examples
from memshield.data.prepare import Prepared, prepare
from memshield.data.source import Source, open_source
from memshield.errors import UserError
from memshield.families import Facts, read_facts, resolve
from memshield.flags import parse_config
from memshield.launch import require_hardware, resolve_launch
from memshield.prices import dollars_an_hour

FLOAT = 4


@dataclass(frozen=True)
class Disk:
    """Bytes a run will need, upper estimates.

    Attributes:
        rounds: all aggregates, rounds/, and model/.
        checkpoints: as many as checkpoints_total_limit keeps at once.
        encodings: the cache of encoded pictures and captions, outside the run.
    """

    rounds: int
    checkpoints: int
    encodings: int

    @property
    def total(self) -> int:
        """All together."""
        return self.rounds + self.checkpoints + self.encodings


def require_captions(facts: Facts, source: Source, prepared: Prepared | None = None) -> None:
    """Refuse to train a text model without captions.

    Raises:
        UserError: there is no caption column, or every caption is empty.
    """
    if not facts.needs_captions:
        return
    if source.columns.caption is None:
        raise UserError(
            "caption_column",
            "this model is conditioned on text and the dataset has no captions "
            f"(columns: {', '.join(source.there)})",
            "Name the column, or add captions (a folder takes metadata.jsonl: file_name, text).",
        )
    if prepared is not None and prepared.empty_captions == len(prepared.examples):
        raise UserError(
            "caption_column",
            f"every caption in {source.columns.caption!r} is empty",
            "Add captions.",
        )


def budget_of(config: Config, examples: Examples) -> Budget:
    """The steps of a run.

    Raises:
        UserError: there are fewer steps than shards and rounds need.
    """
    batch = config.train_batch_size * config.gradient_accumulation_steps
    images = len(examples.members())
    total = steps_of_run(images, config.num_train_epochs, batch, config.max_train_steps)
    budget = Budget.split(total, examples.shard_sizes(), config.num_rounds)
    if min(min(row) for row in budget.steps) < 1:
        raise UserError(
            "num_rounds",
            f"{total} steps do not give each of {config.num_shards} shards one in every of "
            f"{config.num_rounds} rounds",
            "Lower num_rounds or num_shards, or train for more epochs.",
        )
    return budget


def can_cache(config: Config, facts: Facts, examples: Examples) -> bool:
    """Whether encodings are cached.

    Raises:
        UserError: the config asks for it and crops are random.
    """
    if not facts.needs_captions or config.cache_latents is False:
        return False
    fixed = config.center_crop or examples.all_square()
    if config.cache_latents and not fixed:
        raise UserError(
            "cache_latents",
            "pictures are not square and crops are random, so encodings cannot be kept",
            "Set center_crop, or leave cache_latents out.",
        )
    return fixed


def disk_of(config: Config, facts: Facts, examples: Examples, budget: Budget) -> Disk:
    """Disk space needed."""
    from memshield.families.size import encoded_bytes, frozen_bytes, trainable_parameters

    weights = FLOAT * trainable_parameters(config, facts)
    frozen = frozen_bytes(config, facts)
    moments = weights // 2 if config.use_8bit_adam else 2 * weights
    trained = weights * (2 if config.use_ema else 1)
    ensemble = config.num_shards > 1
    made = budget.total // config.checkpointing_steps + config.num_rounds + 1
    count = min(made, config.checkpoints_total_limit or made)
    # A checkpoint writes the proxy, the running sum and the active shard's moments; what did
    # not change since the one before is linked.
    each = trained * (3 if ensemble else 1) + moments
    kept_moments = moments * config.num_shards if config.shard_optimizer == "keep" else 0
    captions = len(examples.members()) + 1
    pictures = len(examples.members()) * (2 if config.random_flip else 1)
    per_picture, per_caption = encoded_bytes(config, facts)
    cached = can_cache(config, facts, examples)
    return Disk(
        rounds=weights * (config.num_rounds + 1) + 2 * frozen,
        checkpoints=each * count + kept_moments,
        encodings=(pictures * per_picture + captions * per_caption) if cached else 0,
    )


def main(argv: Sequence[str]) -> int:
    """Print the plan of a config; `--json` for machines, `--measure` for time and memory."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--json", action="store_true")
    own.add_argument("--measure", action="store_true")
    own.add_argument("--hardware")
    mine, rest = own.parse_known_args(argv)
    config = parse_config(
        "python -m memshield plan",
        rest,
        "Say what a training would do, without training. Takes the settings of memshield.train, "
        "and: --measure to run a few steps and tell time and memory, --hardware NAME (of a Hub "
        "Space or Job, such as a10g-small) to tell the cost as well, --json.",
    )
    config = resolve_launch(config)
    facts = read_facts(config)
    config = resolve(config, facts)
    if mine.hardware and not mine.measure:
        raise UserError("--hardware", "the cost follows from a measurement", "Add --measure.")
    price = (mine.hardware, dollars_an_hour(mine.hardware)) if mine.hardware else None
    source = open_source(config)
    require_captions(facts, source)
    prepared = prepare(config, source)
    require_captions(facts, source, prepared)
    examples = prepared.examples
    budget = budget_of(config, examples)
    disk = disk_of(config, facts, examples, budget)
    measured = None
    if mine.measure:
        from memshield.measure import measure
        from memshield.start import Job

        require_hardware(config)
        measured = measure(Job(config, facts, source, examples, budget))
    if mine.json:
        plan = _as_json(prepared, budget, disk)
        if measured is not None:
            plan["measured"] = asdict(measured)
            if price is not None:
                plan["cost_usd"] = round(price[1] * measured.total_s / 3600, 4)
        print(json.dumps(plan, indent=1))
        return 0
    a_round = [sum(row) for row in budget.steps]
    lowest, highest = min(a_round), max(a_round)
    epochs = budget.total * config.train_batch_size * config.gradient_accumulation_steps
    lines = [
        f"model         {facts.pipeline_class}, {config.training}, {config.resolution} px",
        *prepared.lines(),
        f"steps         {budget.total} in all ({epochs / len(examples.members()):.1f} epochs), "
        + (f"{lowest}" if lowest == highest else f"{lowest} to {highest}")
        + f" a round, {config.num_rounds} rounds",
        f"disk          {_bytes(disk.total)}: rounds and model {_bytes(disk.rounds)}, checkpoints "
        f"{_bytes(disk.checkpoints)}, cached encodings {_bytes(disk.encodings)}",
    ]
    if measured is not None:
        from memshield.measure import in_words

        lines += in_words(measured, price)
    print("\n".join(lines))
    return 0


def _as_json(prepared: Prepared, budget: Budget, disk: Disk) -> dict[str, object]:
    examples = prepared.examples
    return {
        "pictures": len(examples),
        "bad_rows": prepared.bad_rows,
        "empty_captions": prepared.empty_captions,
        "members": len(examples.members()),
        "held_out": len(examples.held_out()),
        "duplicate_groups": {"exact": prepared.exact_groups, "near": prepared.near_groups},
        "shard_sizes": examples.shard_sizes(),
        "steps": budget.total,
        "steps_by_round_and_shard": budget.steps,
        "disk_bytes": {**asdict(disk), "total": disk.total},
    }


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
