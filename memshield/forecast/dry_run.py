"""`train --dry_run`: every problem at once, and one real step, before any time is spent."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from memshield.audit.sample_size import require_auditable
from memshield.budget import Budget
from memshield.config.file import Config, to_yaml
from memshield.data.examples import Examples
from memshield.data.scan import Prepared, prepare
from memshield.data.source import Source, open_source
from memshield.errors import UserError, UserErrors
from memshield.families import Facts, read_facts, resolve
from memshield.forecast.plan import budget_of, can_cache, disk_of, require_captions
from memshield.hub.publish.preflight import no_room, publishing_errors, room_errors
from memshield.rundir import RunDir, write_text
from memshield.training.interruption import StopRequest
from memshield.training.launch import require_hardware, require_usable
from memshield.training.ranks import Ranks


@dataclass
class _Found:
    """What the checks have found so far."""

    config: Config
    errors: list[UserError]
    facts: Facts | None = None
    source: Source | None = None
    prepared: Prepared | None = None

    def check(self, step: Callable[[], None]) -> bool:
        """Take a check, and keep what is wrong; whether nothing was."""
        try:
            step()
        except UserError as error:
            self.errors.append(error)
            return False
        return True


def dry_run(config: Config) -> Iterator[str]:
    """Check model, data, disk and publication of a config, then train one step of it.

    Yields:
        Lines for a person.

    Raises:
        UserErrors: every problem that was found.
    """
    found = _Found(config, [])
    found.check(lambda: require_usable(RunDir(config.output_dir)))
    found.check(lambda: _model(found))
    found.check(lambda: _data(found))
    if config.hub_model_id:
        found.errors += publishing_errors(found.config)
    if found.errors:
        raise UserErrors(found.errors)
    facts, source, prepared = found.facts, found.source, found.prepared
    assert facts is not None
    assert source is not None
    assert prepared is not None
    yield f"model         {facts.pipeline_class}, {found.config.training}"
    yield from prepared.lines()
    if config.hub_model_id:
        yield f"publishing    to {config.hub_model_id}: can be done"
    yield from _one_step(found.config, facts, source, prepared.examples)
    yield "Everything that can be checked beforehand is in order."


def _model(found: _Found) -> None:
    found.facts = read_facts(found.config)
    found.config = resolve(found.config, found.facts)
    require_hardware(found.config)


def _data(found: _Found) -> None:
    config = found.config
    no_space = room_errors(config)
    if no_space:
        raise UserErrors(no_space)
    found.source = source = open_source(config)
    found.config = config = config.model_copy(update={"dataset_revision": source.revision})
    if found.facts is not None:
        require_captions(found.facts, source)
    prepared = found.prepared = prepare(config, source)
    budgets: list[Budget] = []
    found.check(lambda: require_auditable(config, prepared.examples))
    found.check(lambda: budgets.append(budget_of(config, prepared.examples)))
    if found.facts is not None and budgets:
        require_captions(found.facts, source, prepared)
        can_cache(config, found.facts, prepared.examples)
        disk = disk_of(config, found.facts, prepared.examples, budgets[0])
        problem = no_room("output_dir", "the run", disk.total, Path(config.output_dir))
        if problem is not None:
            raise problem


def _one_step(config: Config, facts: Facts, source: Source, examples: Examples) -> Iterator[str]:
    """Train one step, save, and make the card, in a temporary folder."""
    from memshield.hub.manifest import Dataset
    from memshield.hub.publish.assemble import Claims, assemble
    from memshield.hub.publish.sources import Origins
    from memshield.training import start

    batch = config.train_batch_size * config.gradient_accumulation_steps
    few = _few(examples, batch)
    alone = {"num_shards": 1, "num_rounds": 1, "outer_learning_rate": 1.0, "outer_momentum": 0.0}
    unwatched = {"stop_levels": False, "loss_bank_reference": "own"}
    short = {"max_train_steps": 1, "lr_warmup_steps": 0, "num_validation_images": 0}
    quiet = {"audit_every_rounds": None, "memorization_budget": None, "report_to": None}
    with tempfile.TemporaryDirectory() as folder:
        run = RunDir(Path(folder) / "run")
        run.path.mkdir()
        small = config.model_copy(
            update={**alone, **unwatched, **short, **quiet, "output_dir": str(run.path)}
        )
        stop = StopRequest()
        few.write(run.examples)
        write_text(run.config, to_yaml(small))
        job = start.Job(small, facts, source, few, budget_of(small, few))
        start.train(job, run, Ranks(stop), stop, None, None)
        yield f"one step      trained and saved {_size(run.model)}"
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


def _size(folder: Path) -> str:
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{total / 1e6:.1f} MB"
