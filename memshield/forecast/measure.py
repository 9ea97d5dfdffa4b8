"""Measures the time and memory of a run by a few of its steps."""

from __future__ import annotations

import math
import resource
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch

from memshield.audit.sample_size import audits_of_run, count_of_round
from memshield.audit.watch_record import WatchRecord
from memshield.config.buckets import as_text
from memshield.config.file import Config
from memshield.data.batches import MicroBatch, PictureReader, ShardBatches
from memshield.data.buckets import Buckets
from memshield.data.encodings import EncodedCaptions, LiveEncoder
from memshield.data.requirements import can_cache
from memshield.families import load
from memshield.families.base import Encoded, Family, Placement
from memshield.forecast.cost import grid_of
from memshield.quantities import duration, plural
from memshield.rundir import RunDir
from memshield.step_budget import StepBudget
from memshield.training.interruption import StopRequest
from memshield.training.launch import make_accelerator
from memshield.training.loop import Trainer
from memshield.training.prepare import PreparedRun
from memshield.training.progress import Listener
from memshield.training.ranks import Ranks
from memshield.training.setup import Encoder, Setup
from memshield.training.step import StepResult
from memshield.training.watch import HeldOutWatch, batches_of_one_size

STEPS = 8
"""Steps a shard, of two shards at the most; a turn's first are left out of the median."""
_WARM_UP = 2


@dataclass(frozen=True)
class Measured:
    """The time and memory of a run on this machine, in one process.

    Attributes:
        device: it was measured on.
        load_s: seconds to load the model; what has to be downloaded comes on top.
        encode_s: to encode all pictures and captions once; 0 where they are encoded as they come.
        first_step_s: of the first step beyond an ordinary one: compiling, warming up.
        step_s: of a step; where noise levels may be stopped, of one in which all of them are.
        check_s: of a look at the held-out loss; 0 where it is not watched.
        save_s: of a checkpoint, with a round's aggregate.
        samples_s: of a sample grid.
        audits_s: to generate the pictures of all audits while training; 0 without audits.
        total_s: of the whole run.
        peak_bytes: of the GPU, or of this process without one.
    """

    device: str
    load_s: float
    encode_s: float
    first_step_s: float
    step_s: float
    check_s: float
    save_s: float
    samples_s: float
    audits_s: float
    total_s: float
    peak_bytes: int


class Costs(NamedTuple):
    """Seconds of the parts of a short run."""

    first_step: float
    step: float
    check: float
    save: float
    samples: float


class _Stopwatch(Listener):
    """Notes when each step ended, and when the last checkpoint was made."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = time.perf_counter()
        self.turns: dict[int, list[float]] = {}
        self.last_save = 0.0
        self.check = 0.0

    def watched(
        self, record: WatchRecord, stopping: Sequence[int], round: int, seconds: float
    ) -> None:
        self.check = seconds
        if not self.turns:
            self.begun = time.perf_counter()

    def step(self, step: int, round: int, shard: int, result: StepResult) -> None:
        super().step(step, round, shard, result)
        self.turns.setdefault(shard, []).append(time.perf_counter())

    def saved(self, step: int) -> None:
        # The start of the first round is saved before the first step.
        self.last_save = time.perf_counter()
        if not self.turns:
            self.begun = self.last_save

    def costs(self, ended: float) -> Costs:
        """Costs of the parts, once the run has ended."""
        steps = [
            later - earlier
            for times in self.turns.values()
            for earlier, later in zip(times[_WARM_UP - 1 :], times[_WARM_UP:], strict=False)
        ]
        step = statistics.median(steps)
        ends = [times[-1] for times in self.turns.values()]
        first = next(iter(self.turns.values()))[0] - self.begun
        # A check comes between the last step and the save.
        save = max(0.0, self.last_save - ends[-1] - self.check)
        return Costs(max(0.0, first - step), step, self.check, save, ended - self.last_save)


class _Once:
    """Encodes one batch and gives it again and again, as a cache would."""

    def __init__(self, prepared: PreparedRun, family: Family, reader: PictureReader) -> None:
        live = LiveEncoder(family, prepared.captions())
        (batch, *_) = ShardBatches(prepared.config, prepared.examples, 0, reader)[0]
        live.encode(batch)  # the first pass warms the device up
        begun = time.perf_counter()
        encoded = live.encode(batch)
        self._encoded = {name: tensor.cpu() for name, tensor in encoded.items()}
        self.seconds_a_picture = (time.perf_counter() - begun) / len(batch.index)

    def encode(self, batch: MicroBatch) -> Encoded:
        return {name: tensor[: len(batch.index)] for name, tensor in self._encoded.items()}


def measure(prepared: PreparedRun) -> Measured:
    """Train a few steps of a run in a temporary folder: two shards, one round, all it entails."""
    drawn = grid_of(prepared.config, prepared.facts.family)
    audited = audits_of_run(prepared.config)
    config = prepared.config.model_copy(
        update={
            "num_shards": min(2, prepared.config.num_shards),
            "num_rounds": 1,
            "checkpointing_steps": 10**9,
            "report_to": None,
            "watch_checks": 1,
            "aspect_ratio_buckets": _largest_bucket(prepared),
        }
    )
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as folder:
        run = RunDir(Path(folder) / "run")
        run.path.mkdir()
        begun = time.perf_counter()
        accelerator = make_accelerator(config, run)
        family = load(config, prepared.facts, Placement.of(config, accelerator.device))
        load_s = time.perf_counter() - begun
        reader: PictureReader | None = PictureReader(
            prepared.source, prepared.examples, prepared.facts.channels,
            int(config.resolution or 0), config.center_crop,
            Buckets.of(config, prepared.examples),
        )  # fmt: skip
        encode_s, encoder = 0.0, None
        if can_cache(config, prepared.facts, prepared.examples) and reader is not None:
            encoder = _Once(replace(prepared, config=config), family, reader)
            examples = prepared.examples
            pictures = len(examples.members()) + len(examples.watched())
            pictures *= 2 if config.random_flip else 1
            encode_s = encoder.seconds_a_picture * pictures
            family.release_encoders()
            reader = None
        costs = _train_a_little(prepared, config, run, family, reader, encoder)
        pictures = audited * count_of_round(prepared.config, len(prepared.examples.members()))
        audits = pictures * _seconds_a_picture(prepared, family) if pictures else 0.0
    budget = prepared.budget
    inside = budget.total // prepared.config.checkpointing_steps
    checks = (
        prepared.config.watch_checks
        if prepared.config.num_shards == 1
        else prepared.config.num_rounds
    )
    samples = costs.samples if drawn else 0.0
    total = (
        load_s
        + encode_s
        + costs.first_step
        + budget.total * costs.step
        + prepared.config.num_rounds * (costs.save + samples)
        + audits
        + inside * costs.save
        + (checks + 1) * costs.check  # the first before any step
    )
    return Measured(
        _device(), load_s, encode_s, costs.first_step, costs.step, costs.check, costs.save,
        samples, audits, total, _peak_bytes(),
    )  # fmt: skip


def _seconds_a_picture(prepared: PreparedRun, family: Family) -> float:
    """To draw a picture of an audit, which draws as many at once as there is room for."""
    config, captions = prepared.config, prepared.captions()
    count = min(family.at_once(), count_of_round(config, len(prepared.examples.members())))
    prompts = None if captions is None else [captions[i % len(captions)] for i in range(count)]
    begun = time.perf_counter()
    family.sample(range(count), prompts, config.num_inference_steps)
    return (time.perf_counter() - begun) / count


def _largest_bucket(prepared: PreparedRun) -> str | None:
    """The largest of the aspect buckets that have pictures, for all pictures to be cut to."""
    buckets = Buckets.of(prepared.config, prepared.examples)
    if buckets is None:
        return None
    sizes = [size for size, _ in buckets.parts(prepared.examples.members())]
    return as_text([max(sizes, key=lambda size: size[0] * size[1])])


def _train_a_little(
    prepared: PreparedRun,
    config: Config,
    run: RunDir,
    family: Family,
    reader: PictureReader | None,
    encoder: Encoder | None,
) -> Costs:
    captions = prepared.captions()
    prompts = config.validation_prompts or (list(captions[:4]) if captions else None)
    stop, watch = StopRequest(), _Stopwatch()
    if encoder is None:
        encoded = None
        if captions is not None:
            encoded = EncodedCaptions(config, family, prepared.examples, captions)
        encoder = LiveEncoder(family, captions, encoded)
    setup = Setup(
        config, prepared.examples, StepBudget(((STEPS,) * config.num_shards,)), run, Ranks(stop),
        stop, family, encoder, reader, prompts,
    )  # fmt: skip
    trainer = Trainer(setup, watch)
    watch.begun = time.perf_counter()
    if trainer.watch is not None:
        trainer.watch.rehearse(config.watch_bins)  # a step can take no more than that
    trainer.train(None)
    costs = watch.costs(time.perf_counter())
    if trainer.watch is None:
        return costs
    return costs._replace(check=costs.check * _more_batches(trainer.watch, prepared))


def _more_batches(watch: HeldOutWatch, prepared: PreparedRun) -> float:
    """Batches of a check of a run over those of its measurement, in which all have one size."""
    size = prepared.config.train_batch_size
    sizes = watch.sizes_in(Buckets.of(prepared.config, prepared.examples))
    return len(batches_of_one_size(sizes, size)) / math.ceil(len(sizes) / size)


def _device() -> str:
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"CPU, {plural(torch.get_num_threads(), 'thread')}"


def _peak_bytes() -> int:
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_reserved())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def in_words(measured: Measured, price: tuple[str, float] | None) -> Iterable[str]:
    """Lines of the plan.

    Args:
        measured: see `measure`.
        price: name of a hardware and US dollars an hour, or None.
    """
    one = measured
    yield (
        f"time          {duration(one.total_s)} on this machine ({one.device}) in one process: "
        f"{one.step_s * 1000:.3g} ms a step, "
        + (f"{duration(one.check_s)} a look at the held-out loss, " if one.check_s else "")
        + f"{duration(one.save_s)} a save, "
        f"{duration(one.samples_s)} a grid of samples"
        + (f", {duration(one.audits_s)} for the pictures of all audits" if one.audits_s else "")
        + (f", {duration(one.encode_s)} to encode the pictures once" if one.encode_s else "")
    )
    kind = "GPU" if torch.cuda.is_available() else "process"
    yield f"memory        {one.peak_bytes / 1e9:.2f} GB at the peak, of the {kind}"
    if price is not None:
        name, dollars = price
        cost = dollars * one.total_s / 3600
        yield (
            f"cost          ${cost:.2f} on {name} (${dollars:.2f} an hour), "
            "if that is as fast as this machine"
        )
