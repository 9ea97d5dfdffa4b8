"""The training loop: rounds of shards of steps (arXiv 2407.15328, algorithm 1)."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from enum import IntEnum
from functools import partial
from pathlib import Path

from memshield.budget import Budget
from memshield.config.file import Config
from memshield.data.batches import PictureReader, ShardBatches
from memshield.data.examples import Examples
from memshield.families.base import Family
from memshield.rundir import RunDir, new_folder
from memshield.training.anti_gradient import LossBank
from memshield.training.checkpoint import Checkpoint, Checkpointer, Part, Place
from memshield.training.ensemble import LowRankMean, Mean, WeightedMean, shard_weights
from memshield.training.interruption import Stopped, StopRequest
from memshield.training.outer import OuterStep
from memshield.training.progress import Listener
from memshield.training.ranks import Ranks
from memshield.training.replica import Replica, Shard, stream
from memshield.training.sample_grid import make_grid, save_picture
from memshield.training.skips import write_skips
from memshield.training.step import Encoder, Stepper, learning_rate_schedule
from memshield.training.watch import Watch


class Intent(IntEnum):
    """Why a rank comes to a meeting inside a round."""

    SAVE = 0
    STOP = 1
    END = 2


class Trainer:
    """Runs a rank's part of a whole training, from wherever it stands.

    Args:
        config: resolved settings.
        run: the run directory, the same for all ranks.
        ranks: the processes of the run.
        family: the loaded model.
        examples: the table.
        reader: of the pictures, or None where encodings are cached.
        encoder: of batches.
        budget: steps of every shard in every round.
        progress: is told of every step.
        stop: is asked after every step.
        prompts: of the sample grids.
        audit: called on rank 0 with the number of a round that has ended; False ends the
            training there.

    Attributes:
        last: number of the last round that has ended.
    """

    def __init__(
        self,
        config: Config,
        run: RunDir,
        ranks: Ranks,
        family: Family,
        examples: Examples,
        reader: PictureReader | None,
        encoder: Encoder,
        budget: Budget,
        progress: Listener,
        stop: StopRequest,
        prompts: Sequence[str] | None = None,
        audit: Callable[[int], bool] | None = None,
    ) -> None:
        self.config = config
        self.run = run
        self.ranks = ranks
        self.family = family
        self.examples = examples
        self.budget = budget
        self.progress = progress
        self.stop = stop
        self.prompts = prompts
        self.audit = audit
        self.replica = Replica(family.trainable(), config)
        self.watch: Watch | None = None
        if config.watches:
            self.watch = Watch(
                config, family, self.replica, examples, reader, encoder, ranks, budget.total
            )
        self.stepper = Stepper(config, family, self.replica, encoder, self.watch)
        self.checkpointer = Checkpointer(run, config.checkpoints_total_limit, ranks)
        self.weights = shard_weights(
            examples.shard_sizes()[: config.num_shards], config.aggregate_weights
        )
        self.shards = [self._new_shard(k) for k in ranks.own(config.num_shards)]
        self.batches = {s.number: ShardBatches(config, examples, s.number, reader)
                        for s in self.shards}  # fmt: skip
        self.mean = self._new_mean()
        self.outer = OuterStep(config) if OuterStep.is_wanted(config) else None
        self.turn = self.done = self.last = 0

    def _new_shard(self, k: int) -> Shard:
        config = self.config
        bank = LossBank(
            self.family.num_slots,
            config.loss_bank_bins,
            config.loss_ema_decay,
            config.loss_bank_debias,
            self.family.device,
        )
        on_disk = config.shard_optimizer_offload == "disk" and config.num_shards > 1
        scratch = self.run.moments / f"shard-{k}.safetensors" if on_disk else None
        return Shard(k, self.examples.of_shard(k), bank, scratch)

    def _new_mean(self) -> Mean:
        return LowRankMean() if self.config.training == "lora" else WeightedMean()

    @property
    def ensemble(self) -> bool:
        """Whether there is anything to average."""
        return self.config.num_shards > 1

    def train(self, checkpoint: Checkpoint | None) -> None:
        """Train from a checkpoint, or from the beginning, to the end of the last round.

        An audit may end it before.

        Raises:
            Stopped: the process was asked to stop; a checkpoint was made.
            NonFiniteLossError: the loss is NaN or infinite.
            RankLostError: another process of the run is gone.
        """
        self.last = first = self._restore(checkpoint)
        if self.watch is not None and not self.watch.record.checks:
            self._check_levels(0, 0)
        self.family.network.train()
        goes_on = checkpoint is None or bool(checkpoint.places) or self._audit(first)
        for round in range(first, len(self.budget.steps) if goes_on else 0):
            for shard in self.shards[self.turn :]:
                self._take_turn(round, shard)
            while not self._meet(round, Intent.END):
                pass
            self._end_round(round)
            self.last = round + 1
            if not self._audit(self.last):
                break
        shutil.rmtree(self.run.moments, ignore_errors=True)

    def _take_turn(self, round: int, shard: Shard) -> None:
        """A shard's steps in a round: its proxy starts from the aggregate and sees only D_k."""
        k = shard.number
        if self.done == 0 and self.turn > 0:
            self.replica.load_file(self._start_file(round))
        self.stepper.begin_turn(shard)
        first = self.budget.before(round, k)
        schedule = learning_rate_schedule(self.config, self.budget.of_shard(k), self.budget.total)
        steps = range(first + self.done, first + self.budget.steps[round][k])
        last = self.budget.on_rank(round, self.ranks.rank, self.ranks.count)
        taken = last - sum(self.budget.steps[round][s.number] for s in self.shards[self.turn :])
        taken += self.done
        with closing(self.batches[k].load(steps)) as loaded:
            for step, batches in zip(steps, loaded, strict=True):
                result = self.stepper.step(shard, step, batches, schedule(step))
                self.done += 1
                taken += 1
                reached = self._reached(round, taken)
                self.progress.step(reached, round + 1, k + 1, result)
                if self.watch is not None and self.watch.is_due(reached):
                    self._check_levels(reached, round + 1)
                if taken == last:
                    break  # the meeting at the round's end follows
                if self.ranks.stop_wanted():
                    self._meet(round, Intent.STOP, shard)
                elif self._is_due(round, taken):
                    self._meet(round, Intent.SAVE, shard)
        self.stepper.end_turn(shard)
        if self.config.shard_optimizer == "reset":
            shard.forget_moments()
        if self.ensemble:
            self.mean.add(self.replica.tensors(), self.weights[k])
        self.turn, self.done = self.turn + 1, 0

    def _reached(self, round: int, taken: int) -> int:
        return self.budget.reached(round, taken, self.ranks.count)

    def _is_due(self, round: int, taken: int) -> bool:
        every = self.config.checkpointing_steps
        return self._reached(round, taken) // every > self._reached(round, taken - 1) // every

    def _meet(self, round: int, intent: Intent, active: Shard | None = None) -> bool:
        """Meet the other ranks inside a round; True when all are through with their shards.

        Until they are, whoever comes wants a checkpoint made, in which ranks that wait take part.
        """
        said = self.ranks.gather([int(intent), self.turn, self.done])
        if all(theirs[0] == Intent.END for theirs in said):
            return True
        places = [Place(turn, done) for _, turn, done in said]
        self._save_inside_round(round, places[: self.config.num_shards], active)
        if any(theirs[0] == Intent.STOP for theirs in said):
            self.stop.note()
            self.stop.obey()
        return False

    def _end_round(self, round: int) -> None:
        number = round + 1
        if self.ensemble:
            self._aggregate(round)
            if self.watch is not None:
                self._check_levels(self.budget.round_end(round), number)
        if self.ranks.is_first:
            previous = self.run.rounds / str(round)
            with self.replica.averaged(), new_folder(self.run.rounds / str(number)) as aside:
                self.family.save(aside, previous if previous.is_dir() else None)
        self.turn = self.done = 0
        step = self.budget.round_end(round)
        self._save(step, self._parts_between_rounds(number), number)
        loss, kept, stopping = self._figures_of_round()
        extra = {}
        if isinstance(self.mean, LowRankMean) and self.ensemble:
            extra["energy_dropped"] = self.mean.energy_dropped
        self.mean = self._new_mean()
        self.progress.round_ended(step, number, loss, kept, **extra)
        if stopping:
            self.stop.note()
            self.stop.obey()
        self._show_samples(step, number)

    def _check_levels(self, step: int, round: int) -> None:
        """Look at the held-out loss by noise level; of an ensemble, at that of the aggregate."""
        watch = self.watch
        assert watch is not None
        if not self.shards and not self.ensemble:
            return  # a surplus rank, whose weights are nobody's
        begun = time.monotonic()
        stopping = watch.check(step, together=self.ensemble)
        if self.ranks.is_first:
            watch.record.write(self.run.watch)
            self.progress.watched(watch.record, stopping, round, time.monotonic() - begun)

    def _audit(self, number: int) -> bool:
        """Audit the aggregate of a round, on rank 0; whether to go on."""
        every = self.config.audit_interval
        if every is None or number == 0 or number % every:
            return True
        goes_on, stopping = True, False
        if self.audit is not None and self.ranks.is_first:
            try:
                with self.replica.averaged():
                    goes_on = self.audit(number)
            except Stopped:
                stopping = True  # the others are told first: they wait here
        goes_on, stopping = self.ranks.share([goes_on, stopping])
        if stopping:
            self.stop.note()
            self.stop.obey()
        return bool(goes_on)

    def _aggregate(self, round: int) -> None:
        live = self.replica.tensors()
        mean = self.mean.over(self.ranks, self.weights, live)
        if self.outer is not None:
            names = set(self.replica.parameters)
            self.outer.apply(stream(self._start_file(round)), mean, names)
        self.replica.load(mean)

    def _figures_of_round(self) -> tuple[float, float, bool]:
        """Mean loss and share kept over all ranks' steps, and whether one wants to stop."""
        own = [*self.progress.take_round(), self.ranks.stop_wanted()]
        found = self.ranks.gather(own)
        steps = max(1, sum(count for count, _, _, _ in found))
        loss = sum(count * mean for count, mean, _, _ in found) / steps
        kept = sum(count * share for count, _, share, _ in found) / steps
        return loss, kept, any(stop for _, _, _, stop in found)

    def _show_samples(self, step: int, number: int) -> None:
        if not self.ranks.is_first:
            return
        path = self.run.samples / f"round-{number:04d}.png"
        with self.replica.averaged():
            image = make_grid(self.family, self.config, self.prompts)
        if image is not None:
            save_picture(image, path)
            self.progress.sampled(step, number, str(path.relative_to(self.run.path)))

    # Checkpoints

    def _save(
        self, step: int, parts: dict[str, Part], round: int, places: Sequence[Place] = ()
    ) -> None:
        saved = self.checkpointer.save(step, parts, round, places)
        if self.ranks.is_first:
            write_skips(self.run.skips, saved, self.examples)
        self.progress.saved(step)

    def _save_inside_round(self, round: int, places: Sequence[Place], active: Shard | None) -> None:
        rank = self.ranks.rank
        parts = {**self._shard_parts(active), **self._watch_parts()}
        if active is not None:
            self.stepper.note_scaler(active)
            version = f"proxy-{active.number}-{active.steps}"
            parts[f"proxy-{rank}"] = Part(version, lambda: (self.replica.tensors(), {}))
        if self.ensemble and self.turn > 0:
            version = f"mean-{round}-{rank}-{self.turn}"
            parts[f"mean-{rank}"] = Part(version, lambda: (self.mean.state_dict(), {}))
        if self.ensemble and self.ranks.is_first:
            parts["start"] = Part(f"start-{round}", None)
            if self.outer is not None and self.outer.momentum:
                parts["momentum"] = Part(f"momentum-{round}", None)
        step = self.budget.round_end(round - 1) if round else 0
        for other, place in enumerate(places):
            turns = self.budget.steps[round][other :: self.ranks.count]
            step += sum(turns[: place.turn]) + place.done
        self._save(step, parts, round, places)

    def _parts_between_rounds(self, round: int) -> dict[str, Part]:
        parts = {**self._shard_parts(None), **self._watch_parts()}
        if self.ranks.is_first:
            parts["start"] = Part(f"start-{round}", lambda: (self.replica.tensors(), {}))
            outer = self.outer
            if outer is not None and outer.momentum:
                parts["momentum"] = Part(f"momentum-{round}", lambda: (outer.momentum, {}))
        return parts

    def _watch_parts(self) -> dict[str, Part]:
        return self.watch.parts() if self.watch is not None and self.ranks.is_first else {}

    def _shard_parts(self, active: Shard | None) -> dict[str, Part]:
        parts = {}
        for shard in self.shards:
            if shard.steps > 0:
                version = f"shard-{shard.number}-{shard.steps}"
                optimizer = None
                if shard is active:
                    optimizer = self.stepper.optimizer
                    if self.config.shard_optimizer == "reset":
                        version += "-active"  # when its turn ends, its moments are forgotten
                parts[f"shard-{shard.number}"] = Part(version, partial(shard.state, optimizer))
        return parts

    def _restore(self, checkpoint: Checkpoint | None) -> int:
        """Stand where a checkpoint was made; the round to go on with."""
        if checkpoint is None:
            if self.ensemble:
                # Every proxy but the first reads its start from disk, in round 0 too.
                self._save(0, self._parts_between_rounds(0), 0)
                if not self.ranks.is_first:
                    self.replica.load_file(self._start_file(0))
            return 0
        self.checkpointer.last = checkpoint
        for shard in self.shards:
            if checkpoint.has(f"shard-{shard.number}"):
                shard.load(checkpoint.path(f"shard-{shard.number}"))
        if self.watch is not None:
            self.watch.load(checkpoint)
        if checkpoint.has("momentum") and self.outer is not None:
            self.outer.momentum = dict(stream(checkpoint.path("momentum")))
        rank = self.ranks.rank
        if not checkpoint.places:
            self.replica.load_file(checkpoint.path("start"))
            self._make_missing_samples(checkpoint)
        elif rank < len(checkpoint.places):
            self.turn, self.done = checkpoint.places[rank].turn, checkpoint.places[rank].done
            if checkpoint.has(f"proxy-{rank}"):
                self.replica.load_file(checkpoint.path(f"proxy-{rank}"))
            if checkpoint.has(f"mean-{rank}"):
                self.mean.load_state_dict(dict(stream(checkpoint.path(f"mean-{rank}"))))
        return checkpoint.round

    def _make_missing_samples(self, checkpoint: Checkpoint) -> None:
        """A run may have been killed after a round's checkpoint and before its samples."""
        path = self.run.samples / f"round-{checkpoint.round:04d}.png"
        if checkpoint.round > 0 and not path.exists():
            self._show_samples(checkpoint.step, checkpoint.round)

    def _start_file(self, round: int) -> Path:
        assert self.checkpointer.last is not None
        path = self.checkpointer.last.find(f"start-{round}")
        assert path is not None, "every checkpoint of a round holds its start"
        return path
