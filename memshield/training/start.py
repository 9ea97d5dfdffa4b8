"""From a config to a trainer that stands where the run stands."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import yaml

from memshield.config.buckets import is_auto
from memshield.config.file import Config, differing_fields, make_config, read_yaml, to_yaml
from memshield.config.recommendations import Situation, long_warm_up
from memshield.data.duplicate_pairs import write_pairs
from memshield.data.examples import Examples
from memshield.data.requirements import budget_of, can_cache
from memshield.data.source import SourceSettings, open_source
from memshield.errors import UserError
from memshield.families import Facts, class_of, read_facts, resolve
from memshield.imports import many_imports
from memshield.rundir import EventLog, RunDir, StatusFile, remove_leftovers, write_text
from memshield.training.interruption import StopRequest
from memshield.training.launch import make_accelerator, require_hardware
from memshield.training.prepare import (
    Preparation,
    PreparationCheck,
    PreparedRun,
    check_hardware,
    check_network,
    check_noise_level,
    prepare,
    reopen_pictures,
    scan_pictures,
)
from memshield.training.ranks import Ranks

if TYPE_CHECKING:
    from accelerate import Accelerator

    from memshield.data.batches import PictureReader
    from memshield.families.base import Family
    from memshield.training.setup import Encoder

log = logging.getLogger("memshield")


def lead(
    config: Config, run: RunDir, events: EventLog, checks_of_new: Sequence[PreparationCheck] = ()
) -> PreparedRun:
    """Check and prepare everything, and write it into the run directory; done by rank 0.

    Args:
        config: settings.
        run: the run directory.
        events: is told of the pictures.
        checks_of_new: made besides where nothing was trained here yet.

    Raises:
        UserError: whatever a user has to mend, before any weights are fetched.
    """
    earlier = earlier_config(run)

    def check_same(preparation: Preparation) -> None:
        if earlier is not None:
            require_same(preparation.config, earlier)

    def find_pictures(preparation: Preparation) -> None:
        remove_leftovers(run.path)
        remove_leftovers(run.rounds)
        if earlier is not None and run.examples.exists():
            reopen_pictures(preparation, Examples.read(run.examples))
            return
        scan_pictures(preparation)
        assert preparation.source is not None
        assert preparation.scan is not None
        write_pairs(run.duplicates, preparation.source, preparation.scan.examples)
        scan = preparation.scan
        events.write("data", facts=scan.facts(), bad_rows=scan.bad_rows[:1000])
        log.info("\n".join(scan.lines()))

    checks: list[PreparationCheck] = [
        _import_early, check_network, check_noise_level, check_same, check_hardware
    ]  # fmt: skip
    if earlier is None:
        checks += checks_of_new
    pinned = pin(config, earlier)
    for name in ("revision", "dataset_revision"):
        named, commit = getattr(config, name), getattr(pinned, name)
        if named not in (None, commit):
            log.info("%s: going on with %s, where %s stood at first", name, commit, named)
    prepared = prepare(pinned, checks=checks, pictures=find_pictures).prepared_run()
    _warn(prepared)
    prepared.examples.write(run.examples)
    write_text(run.config, to_yaml(prepared.config))
    log.info("\n%s", to_yaml(prepared.config))
    return prepared


def require_checkpoint(config: Config, run: RunDir, ranks: int) -> None:
    """Refuse a named checkpoint that so many ranks cannot go on from, before pictures are read.

    Raises:
        UserError: see `memshield.training.checkpoint.choose`.
    """
    from memshield.training import checkpoint as checkpoints

    if config.resume_from_checkpoint != "latest":
        checkpoints.choose(run, config, ranks)


def _warn(prepared: PreparedRun) -> None:
    members, text = len(prepared.examples.members()), prepared.facts.needs_captions
    advice = long_warm_up(Situation.of(prepared.config, members, prepared.budget.total, text, None))
    if advice is not None:
        log.warning("%s", advice.words)


def _import_early(preparation: Preparation) -> None:
    if preparation.facts is not None:
        import_training(preparation.facts)


def import_training(facts: Facts) -> None:
    """Import what trains a model, all at once: most of the time that a start takes."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    with many_imports():
        class_of(facts.family)
        import memshield.training.loop  # noqa: F401


def follow(settings: str, run: RunDir) -> PreparedRun:
    """What rank 0 prepared, on another rank.

    Args:
        settings: rank 0's resolved config as YAML.
        run: the run directory.
    """
    config = make_config(yaml.safe_load(settings))
    facts = read_facts(config)
    import_training(facts)
    require_hardware(config)
    source, examples = open_source(SourceSettings.of(config)), Examples.read(run.examples)
    return PreparedRun(config, facts, source, examples, budget_of(config, examples))


def make_encoder(
    prepared: PreparedRun, family: Family, ranks: Ranks
) -> tuple[PictureReader | None, Encoder]:
    """The encoder of batches, and the reader where pictures are encoded as they come."""
    from memshield.data.batches import PictureReader
    from memshield.data.buckets import Buckets
    from memshield.data.encodings import EncodedCaptions, EncodedExamples, LiveEncoder

    config, captions = prepared.config, prepared.captions()
    reader = PictureReader(
        prepared.source, prepared.examples, prepared.facts.channels, int(config.resolution or 0),
        config.center_crop, Buckets.of(config, prepared.examples),
    )  # fmt: skip
    if captions is not None and ranks.is_first:
        cut = prepared.cut_captions()
        if cut is not None:
            log.warning("%s", cut.words)
    if not can_cache(config, prepared.facts, prepared.examples):
        encoded = None
        if captions is not None:
            encoded = EncodedCaptions(config, family, prepared.examples, captions, ranks)
        return reader, LiveEncoder(family, captions, encoded)
    encoder = EncodedExamples(config, family, prepared.examples, reader, captions, ranks)
    family.release_encoders()
    return None, encoder


def train(
    prepared: PreparedRun,
    run: RunDir,
    ranks: Ranks,
    stop: StopRequest,
    events: EventLog | None,
    status: StatusFile | None,
    promote: Callable[[RunDir, int], None],
) -> str | None:
    """Train from wherever the run stands to its end.

    Args:
        prepared: what to train.
        run: the run directory.
        ranks: the processes of the run.
        stop: asks for a stop.
        events, status: of rank 0; None on the others.
        promote: makes a round, by its number, the run's model; called on rank 0.

    Returns:
        Why another round than the last is the run's model, if so.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from memshield.families import load
    from memshield.families.base import Placement
    from memshield.training import checkpoint as checkpoints
    from memshield.training.loop import Trainer
    from memshield.training.progress import Listener, Progress
    from memshield.training.setup import Setup

    config = prepared.config
    accelerator = make_accelerator(config, run)
    chosen = checkpoints.choose(run, config, ranks.count)
    ranks.barrier()
    if chosen is not None and ranks.is_first:
        deleted = checkpoints.discard_after(run, chosen)
        log.info("Going on from %s", chosen.folder.name)
        if deleted:
            log.warning("Deleted, as it came later: %s", ", ".join(deleted))
    if ranks.count > config.num_shards and ranks.is_first:
        log.warning(
            "%d processes for %d shards: %d of them idle",
            ranks.count,
            config.num_shards,
            ranks.count - config.num_shards,
        )
    family = None
    if ranks.is_first:
        family = load(config, prepared.facts, Placement.of(config, accelerator.device))
    ranks.barrier()  # what rank 0 has fetched is in the cache of this node
    if family is None:
        family = load(config, prepared.facts, Placement.of(config, accelerator.device))
    reader, encoder = make_encoder(prepared, family, ranks)
    progress = Listener()
    if events is not None and status is not None:
        progress = Progress(
            events,
            status,
            prepared.budget.total,
            chosen.step if chosen else 0,
            config.num_rounds,
            config.num_shards,
            _tracker(config, accelerator),
        )
        status.set("running", total_steps=prepared.budget.total)
    audits = None
    if config.audit_interval is not None and events is not None:
        from memshield.training.audits import RoundAudits

        audits = RoundAudits(
            config, prepared.facts, prepared.source, prepared.examples, run, family, events, stop,
            ranks,
        )  # fmt: skip
    setup = Setup(
        config,
        prepared.examples,
        prepared.budget,
        run,
        ranks,
        stop,
        family,
        encoder,
        reader,
        _prompts(prepared),
    )
    trainer = Trainer(setup, progress, audits)
    reason = None
    try:
        with stop.deferred():
            trainer.train(chosen)
            if ranks.is_first:
                kept = trainer.round
                if audits is not None:
                    kept, reason = audits.choice(kept)
                promote(run, kept)
    finally:
        progress.close()
        if config.report_to:
            accelerator.end_training()
    return reason


def is_done(config: Config, run: RunDir) -> bool:
    """Whether this very config was trained to its end here."""
    earlier = earlier_config(run)
    if earlier is None or not run.model.is_dir() or config.resume_from_checkpoint != "latest":
        return False
    config = pin(config, earlier)
    require_same(resolve(config, read_facts(config)), earlier)
    # One that the earlier budget has ended goes on within another.
    is_short = max(run.round_numbers(), default=0) < earlier.num_rounds
    return not (is_short and config.memorization_budget != earlier.memorization_budget)


def earlier_config(run: RunDir) -> Config | None:
    """The config of the run that stands here, if it got as far as a checkpoint."""
    if not run.has_begun():
        return None
    return make_config(read_yaml(run.config))


def pin(config: Config, earlier: Config | None) -> Config:
    """Go on with what was settled at first, where the config leaves it open: commits, buckets.

    A branch or a tag leaves it open, too: what it stood at then is in the earlier config.
    """
    if earlier is None:
        return config
    names = [
        name for name in ("revision", "dataset_revision")
        if not _is_commit(getattr(config, name)) and _is_commit(getattr(earlier, name))
    ]  # fmt: skip
    if is_auto(config) and earlier.aspect_ratio_buckets:
        names.append("aspect_ratio_buckets")
    return config.model_copy(update={name: getattr(earlier, name) for name in names})


def _is_commit(revision: str | None) -> bool:
    return revision is not None and re.fullmatch(r"[0-9a-f]{40}", revision) is not None


def require_same(config: Config, earlier: Config) -> None:
    """Refuse to go on where a setting differs that may not, naming it."""
    different = differing_fields(config, earlier)
    if different:
        raise UserError(
            "output_dir",
            f"{config.output_dir} holds another run; these settings differ and may not:"
            + "".join(
                f"\n  {name}: {getattr(config, name)!r}, there {getattr(earlier, name)!r}"
                for name in different
            ),
            "Take them back to go on with that run, or choose another output_dir.",
        )


def _tracker(
    config: Config, accelerator: Accelerator
) -> Callable[[dict[str, float], int], None] | None:
    """Figures only: samples may be near-copies of training pictures and stay here."""
    if not config.report_to:
        return None
    from memshield.config.flow import FlowSettings
    from memshield.config.schema import MethodSettings, TrainingSettings

    shown = {**MethodSettings.model_fields, **TrainingSettings.model_fields}
    if config.weighting_scheme is not None:
        shown |= FlowSettings.model_fields
    values = {name: getattr(config, name) for name in shown}
    plain = {name: value for name, value in values.items() if value is not None}
    accelerator.init_trackers("memshield", config=plain)
    return lambda figures, step: accelerator.log(figures, step=step)


def _prompts(prepared: PreparedRun) -> list[str] | None:
    captions = prepared.captions()
    if captions is None:
        return None
    if prepared.config.validation_prompts:
        return prepared.config.validation_prompts
    shown = prepared.examples.held_out().tolist() or prepared.examples.members().tolist()
    return [captions[index] for index in shown[:4]]
