"""`train --dry_run`: every problem at once, and one real step, before any time is spent."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np

from memshield.config.file import Config, to_yaml
from memshield.config.recommendations import cut_to_squares, long_warm_up
from memshield.data.examples import Examples
from memshield.data.requirements import budget_of
from memshield.errors import UserError, UserErrors
from memshield.forecast.plan import disk_of, situation_of
from memshield.hub.catalog.license import license_words
from memshield.hub.publish.preflight import no_room, publishing_errors, room_errors
from memshield.quantities import size
from memshield.rundir import RunDir, bytes_in, write_text
from memshield.runs.promote import promote
from memshield.training.interruption import StopRequest
from memshield.training.launch import require_usable
from memshield.training.prepare import (
    Preparation,
    PreparedRun,
    check_hardware,
    check_network,
    check_noise_level,
    prepare,
    scan_pictures,
)
from memshield.training.ranks import Ranks


def dry_run(config: Config, ranks: int = 1) -> Iterator[str]:
    """Check model, data, disk and publication of a config, then train one step of it.

    Args:
        config: settings.
        ranks: processes that would train it.

    Yields:
        Lines for a person.

    Raises:
        UserErrors: every problem that was found.
    """
    from memshield.training import start

    run = RunDir(config.output_dir)
    earlier = start.earlier_config(run)

    def check_checkpoint(preparation: Preparation) -> None:
        start.require_checkpoint(preparation.config, run, ranks)

    def check_same(preparation: Preparation) -> None:
        if earlier is not None and preparation.facts is not None:
            start.require_same(preparation.config, earlier)

    checks = [
        _check_output, check_same, check_checkpoint, check_network, check_noise_level,
        check_hardware,
    ]  # fmt: skip
    if config.hub_model_id:
        checks.append(_check_publication)
    # As a start does: what was settled at first stays, such as the commit of the base.
    pinned = start.pin(config, earlier)
    preparation = prepare(pinned, checks=checks, pictures=_scan_if_there_is_room, at_once=True)
    with preparation.problems.keep():
        _check_disk(preparation)
    prepared = preparation.prepared_run()
    assert preparation.scan is not None
    yield f"model         {prepared.facts.pipeline_class}, {prepared.config.training}"
    if words := license_words(prepared.facts.repository):
        yield f"license       {words}"
    yield from preparation.scan.lines()
    if (cut := prepared.cut_captions()) is not None:
        yield f"too long      {cut.words}"
    situation = situation_of(prepared)
    for advice in (cut_to_squares(situation), long_warm_up(situation)):
        if advice is not None:
            yield advice.line
    if config.hub_model_id:
        yield f"publishing    to {config.hub_model_id}: can be done"
    yield from _one_step(prepared)
    yield "Everything that can be checked beforehand is in order."


def _check_output(preparation: Preparation) -> None:
    run = RunDir(preparation.config.output_dir)
    require_usable(run)
    there = next(path for path in (run.path, *run.path.absolute().parents) if path.exists())
    if not os.access(there, os.W_OK):
        raise UserError("output_dir", f"{there} cannot be written to", "Choose another folder.")


def _check_publication(preparation: Preparation) -> None:
    errors = publishing_errors(preparation.config)
    if errors:
        raise UserErrors(errors)


def _scan_if_there_is_room(preparation: Preparation) -> None:
    errors = room_errors(preparation.config)
    if errors:
        raise UserErrors(errors)
    scan_pictures(preparation)


def _check_disk(preparation: Preparation) -> None:
    config, facts, source = preparation.config, preparation.facts, preparation.source
    examples, budget = preparation.examples, preparation.budget
    refused = bool(preparation.problems.errors)
    if refused or facts is None or source is None or examples is None or budget is None:
        return
    disk = disk_of(PreparedRun(config, facts, source, examples, budget))
    problem = no_room("output_dir", "the run", disk.total, RunDir(config.output_dir).path)
    if problem is not None:
        raise problem


def _one_step(prepared: PreparedRun) -> Iterator[str]:
    """Train one step, save, and make the card, in a temporary folder."""
    from memshield.hub.manifest import Dataset
    from memshield.hub.publish.assemble import Claims, assemble
    from memshield.hub.publish.sources import Origins
    from memshield.training import start

    config = prepared.config
    few = _few(prepared.examples, config.train_batch_size * config.gradient_accumulation_steps)
    alone = {"num_shards": 1, "num_rounds": 1, "outer_learning_rate": 1.0, "outer_momentum": 0.0}
    unwatched = {"stop_levels": False, "loss_bank_reference": "own"}
    short = {"max_train_steps": 1, "lr_warmup_steps": 0, "num_validation_images": 0}
    quiet = {"audit_every_rounds": None, "memorization_budget": None, "report_to": None}
    with tempfile.TemporaryDirectory() as folder:
        run = RunDir(Path(folder) / "run")
        run.path.mkdir()
        # It has none of the checkpoints of the run itself.
        afresh = {"resume_from_checkpoint": "latest", "output_dir": str(run.path)}
        small = config.model_copy(update={**alone, **unwatched, **short, **quiet, **afresh})
        stop = StopRequest()
        few.write(run.examples)
        write_text(run.config, to_yaml(small))
        short_run = PreparedRun(small, prepared.facts, prepared.source, few, budget_of(small, few))
        start.train(short_run, run, Ranks(stop), stop, None, None, promote)
        yield f"one step      trained and saved {size(bytes_in(run.model))}"
        nothing = Origins(None, None, Dataset(name=None, revision=None, on_hub=False), ())
        made = Path(folder) / "published"
        made.mkdir()
        assemble(run, Claims(small, nothing, None, {}, ()), "you/model", made)
        yield "card          can be made"


def _few(examples: Examples, count: int) -> Examples:
    """As many members as a step needs, all in one shard."""
    chosen = examples.members()[:count]
    parts = {field.name: getattr(examples, field.name)[chosen] for field in fields(examples)}
    return Examples(**{**parts, "shard": np.zeros(len(chosen), np.int64)})
