"""The training loop: rounds of shards of steps (arXiv 2407.15328, algorithm 1)."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from memshield.anti_gradient import LossBank
from memshield.budget import Budget, Position
from memshield.checkpoint import Checkpoint, Checkpointer, Part
from memshield.config import Config
from memshield.data.batches import PictureReader, ShardBatches
from memshield.data.examples import Examples
from memshield.ensemble import LowRankMean, Mean, WeightedMean, shard_weights
from memshield.families.base import Family
from memshield.progress import Progress
from memshield.replica import Replica, Shard
from memshield.rundir import RunDir, new_folder
from memshield.samples import make_grid, save_picture
from memshield.step import Encoder, Stepper, learning_rate_schedule
from memshield.stop import StopRequest

log = logging.getLogger("memshield")


class Trainer:
    """Runs a whole training, from wherever it stands.

    Args:
        config: resolved settings.
        run: the run directory.
        family: the loaded model.
        examples: the table.
        reader: of the pictures, or None where encodings are cached.
        encoder: of batches.
        budget: steps of every shard in every round.
        progress: is told of every step.
        stop: is asked after every step.
        prompts: of the sample grids.
    """

    def __init__(
        self,
        config: Config,
        run: RunDir,
        family: Family,
        examples: Examples,
        reader: PictureReader | None,
        encoder: Encoder,
        budget: Budget,
        progress: Progress,
        stop: StopRequest,
        prompts: Sequence[str] | None = None,
    ) -> None:
        self.config = config
        self.run = run
        self.family = family
        self.budget = budget
        self.progress = progress
        self.stop = stop
        self.prompts = prompts
        self.replica = Replica(family.trainable(), config)
        self.stepper = Stepper(config, family, self.replica, encoder)
        self.checkpointer = Checkpointer(run, config.checkpoints_total_limit)
        self.weights = shard_weights(examples.shard_sizes(), config.aggregate_weights)
        self.shards = [self._new_shard(examples, k) for k in range(config.num_shards)]
        self.batches = [ShardBatches(config, examples, k, reader) for k in range(len(self.shards))]
        self.schedules = [
            learning_rate_schedule(config, budget.of_shard(k), budget.total)
            for k in range(len(self.shards))
        ]
        self.mean = self._new_mean()
        self.step = 0

    def _new_shard(self, examples: Examples, k: int) -> Shard:
        config = self.config
        bank = LossBank(
            self.family.num_slots,
            config.loss_bank_bins,
            config.loss_ema_decay,
            config.loss_bank_debias,
            self.family.device,
        )
        return Shard(k, examples.of_shard(k), bank)

    def _new_mean(self) -> Mean:
        return LowRankMean() if self.config.training == "lora" else WeightedMean()

    @property
    def ensemble(self) -> bool:
        """Whether there is anything to average."""
        return len(self.shards) > 1

    def train(self, checkpoint: Checkpoint | None) -> None:
        """Train from a checkpoint, or from the beginning, to the end of the last round.

        Raises:
            Stopped: the process was asked to stop; a checkpoint was made.
            NonFiniteLossError: the loss is NaN or infinite.
        """
        position = self._restore(checkpoint)
        self.family.network.train()
        while position.round < len(self.budget.steps):
            for shard in self.shards[position.shard :]:
                self._turn(position.round, shard, position.done)
                position = Position(position.round, shard.number, 0)
                if self.ensemble:
                    self.mean.add(self.replica.tensors(), self.weights[shard.number])
            if self.ensemble:
                self.replica.load(self.mean.result())
            self._end_round(position.round)
            position = Position(position.round + 1, 0, 0)

    def _turn(self, round: int, shard: Shard, done: int) -> None:
        """A shard's steps in a round: its proxy starts from the aggregate and sees only D_k."""
        k = shard.number
        if done == 0 and k > 0:
            self._load_start(round)
        self.stepper.begin_turn(shard)
        first = self.budget.before(round, k)
        steps = range(first + done, first + self.budget.steps[round][k])
        for step, batches in zip(steps, self.batches[k].loader(steps), strict=True):
            result = self.stepper.step(shard, step, batches, self.schedules[k](step))
            self.step += 1
            shard.last_step = self.step
            self.progress.step(self.step, round + 1, k + 1, result)
            if self.step == self.budget.round_end(round):
                break  # the checkpoint of the round's end follows the aggregation
            if self.stop.requested or self.step % self.config.checkpointing_steps == 0:
                self._save_inside_round(round, shard)
                self.stop.obey()
        self.stepper.end_turn(shard)
        if self.config.shard_optimizer == "reset":
            shard.forget_moments()

    def _end_round(self, round: int) -> None:
        number = round + 1
        folder = self.run.rounds / str(number)
        previous = self.run.rounds / str(round)
        with self.replica.averaged(), new_folder(folder) as aside:
            self.family.save(aside, previous if previous.is_dir() else None)
        extra: dict[str, Any] = {}
        if isinstance(self.mean, LowRankMean) and self.ensemble:
            extra["energy_dropped"] = self.mean.energy_dropped
        self.mean = self._new_mean()
        self._save(f"start-{number}", self._shard_parts(None))
        self._write_skips()
        self.progress.round_ended(self.step, number, **extra)
        self.stop.obey()
        self._show_samples(number)

    def _show_samples(self, number: int) -> None:
        path = self.run.samples / f"round-{number:04d}.png"
        with self.replica.averaged():
            image = make_grid(self.family, self.config, self.prompts)
        if image is not None:
            save_picture(image, path)
            self.progress.events.write(
                "sample", step=self.step, round=number, file=str(path.relative_to(self.run.path))
            )

    def promote(self, number: int) -> None:
        """Copy a round's aggregate to model/: what a user loads."""
        with new_folder(self.run.model) as aside:
            shutil.copytree(self.run.rounds / str(number), aside, dirs_exist_ok=True)

    # Checkpoints

    def _save(self, weights: str, parts: dict[str, Part]) -> None:
        whole = {"weights": Part(weights, lambda: (self.replica.tensors(), {})), **parts}
        self.checkpointer.save(self.step, whole, {})
        self.progress.events.write("checkpoint", step=self.step)

    def _save_inside_round(self, round: int, shard: Shard) -> None:
        self.stepper.note_scaler(shard)
        parts = self._shard_parts(shard)
        if self.ensemble:
            parts["start"] = Part(f"start-{round}", None)
            if shard.number > 0:
                version = f"mean-{round}-{shard.number}"
                parts["mean"] = Part(version, lambda: (self.mean.state_dict(), {}))
        self._save(f"proxy-{self.step}", parts)
        self._write_skips()

    def _shard_parts(self, active: Shard | None) -> dict[str, Part]:
        parts = {}
        for shard in self.shards:
            if shard.last_step >= 0:
                optimizer = self.stepper.optimizer if shard is active else None
                parts[f"shard-{shard.number}"] = Part(
                    f"shard-{shard.number}-{shard.last_step}", partial(shard.state, optimizer)
                )
        return parts

    def _restore(self, checkpoint: Checkpoint | None) -> Position:
        if checkpoint is None:
            if self.ensemble:
                # Every shard but the first reads its start from disk, in round 0 too.
                self._save("start-0", {})
            return Position(0, 0, 0)
        self.checkpointer.last = checkpoint
        self.step = checkpoint.step
        self.replica.load_file(checkpoint.path("weights"))
        for shard in self.shards:
            if checkpoint.has(f"shard-{shard.number}"):
                shard.load(checkpoint.path(f"shard-{shard.number}"))
        if checkpoint.has("mean"):
            from safetensors.torch import load_file

            self.mean.load_state_dict(load_file(checkpoint.path("mean")))
        position = self.budget.locate(self.step)
        if position.done == 0 and position.round > 0:
            path = self.run.samples / f"round-{position.round:04d}.png"
            if not path.exists():
                self._show_samples(position.round)
        return position

    def _load_start(self, round: int) -> None:
        assert self.checkpointer.last is not None
        path = self.checkpointer.last.find(f"start-{round}")
        assert path is not None, "every checkpoint of a round holds its start"
        self.replica.load_file(path)

    def _write_skips(self) -> None:
        index = np.concatenate([shard.members for shard in self.shards])
        draws = np.concatenate([shard.draws for shard in self.shards])
        skips = np.concatenate([shard.skips for shard in self.shards])
        order = np.argsort(index)
        table = pa.table({"index": index[order], "draws": draws[order], "skips": skips[order]})
        aside = self.run.skips.with_name(".skips.parquet.tmp")
        pq.write_table(table, aside)
        aside.replace(self.run.skips)
