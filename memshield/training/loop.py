"""The training loop: rounds of shards of steps (arXiv 2407.15328, algorithm 1).

1. The training pictures are split into K shards D_1 .. D_K (`Examples`).
2. In each round every shard k trains a proxy theta_k on D_k alone, from the aggregate theta on.
   Anti-gradient control skips what a proxy knows too well (`Stepper`).
3. The aggregate becomes the mean of the proxies (`Mean`), and the next round begins.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from enum import IntEnum

from torch import Tensor

from memshield.data.batches import ShardBatches
from memshield.rundir import new_folder
from memshield.training.checkpoint import Checkpoint, Checkpointer, RoundProgress
from memshield.training.ensemble import make_mean, shard_weights
from memshield.training.interruption import Stopped
from memshield.training.outer import OuterStep
from memshield.training.progress import Listener, mean_figures
from memshield.training.replica import Replica, Shard
from memshield.training.sample_grid import grid_file, save_grid
from memshield.training.setup import Setup
from memshield.training.skips import write_skips
from memshield.training.step import Stepper, learning_rate_schedule
from memshield.training.watch import HeldOutWatch


class Intent(IntEnum):
    """Why a rank comes to a meeting inside a round."""

    SAVE = 0
    STOP = 1
    END = 2


class Trainer:
    """Runs a rank's part of a whole training, from wherever it stands.

    Args:
        setup: what is trained, and on what.
        progress: is told of every step.
        audit: called on rank 0 with the number of a round that has ended; False ends the
            training there.

    Attributes:
        round: rounds that have ended.
        turn: how many of this rank's shards have been trained in the round under way.
        done: steps taken on the shard after them.
    """

    def __init__(
        self, setup: Setup, progress: Listener, audit: Callable[[int], bool] | None = None
    ) -> None:
        self.setup, self.progress, self.audit = setup, progress, audit
        self.config, self.budget = setup.config, setup.budget
        self.run, self.ranks, self.family = setup.run, setup.ranks, setup.family
        config, examples = setup.config, setup.examples
        sizes = examples.shard_sizes()[: config.num_shards]
        self.weights = shard_weights(sizes, config.aggregate_weights)
        self.ensemble = config.num_shards > 1
        self.round = self.turn = self.done = 0
        self.joined = False  # whether an earlier attempt took steps of this round
        self.replica = Replica(self.family.trainable(), config)
        self.watch = HeldOutWatch(setup, self.replica) if config.watches else None
        self.stepper = Stepper(config, self.family, self.replica, setup.encoder, self.watch)
        own = self.ranks.own(config.num_shards)
        self.shards = [Shard.of(setup, k) for k in own]
        self.batches = {k: ShardBatches(config, examples, k, setup.reader) for k in own}
        self.mean = make_mean(config)
        self.outer = OuterStep(config)
        self.checkpointer = Checkpointer(self.run, config.checkpoints_total_limit, self.ranks)
        self.checkpointer.register(*self.shards, self.replica, self.mean, self.outer)
        if self.watch is not None:
            self.checkpointer.register(self.watch)

    def train(self, checkpoint: Checkpoint | None) -> None:
        """Train from a checkpoint, or from the beginning, to the end of the last round.

        An audit may end it before.

        Raises:
            Stopped: the process was asked to stop; a checkpoint was made.
            NonFiniteLossError: the loss is NaN or infinite.
            RankLostError: another process of the run is gone.
        """
        self._begin(checkpoint)
        goes_on = checkpoint is None or bool(checkpoint.places) or self._audit()
        while goes_on and self.round < len(self.budget.steps):
            self.progress.round_begins()
            for shard in self.shards[self.turn :]:
                self._train_proxy(shard)
            while not self._meet(Intent.END):
                pass
            if self.ensemble:
                self._aggregate()
            self._end_round()
            goes_on = self._audit()
        shutil.rmtree(self.run.moments, ignore_errors=True)

    def _begin(self, checkpoint: Checkpoint | None) -> None:
        """Stand where a checkpoint was made."""
        if checkpoint is not None:
            at = self.checkpointer.restore(checkpoint)
            if self.ranks.is_first:
                # A run that was killed between a checkpoint and its record has none of it.
                write_skips(self.run.skips, checkpoint, self.setup.examples)
            self.round, self.joined = at.round, bool(checkpoint.places)
            if at.place is not None:
                self.turn, self.done = at.place.turn, at.place.done
            elif self.round > 0 and not grid_file(self.run, self.round).exists():
                self._show_samples(checkpoint.step)  # killed between the checkpoint and these
        elif self.ensemble:
            # Every proxy but the first reads its start from disk, in the first round too.
            self._save(0)
            if not self.ranks.is_first:
                self.replica.overwrite(self._start())
        if self.ranks.is_first:
            # What an attempt left that came to nothing, or went beyond this checkpoint, is void.
            if self.watch is not None and self.watch.record.checks:
                self.watch.record.write(self.run.watch)
            else:
                self.run.watch.unlink(missing_ok=True)
        if self.watch is not None and not self.watch.record.checks:
            self._check_levels(0, 0)
        self.family.network.train()

    def _train_proxy(self, shard: Shard) -> None:
        """Train theta_k for a round: it starts from the aggregate and sees D_k only."""
        k, budget, every = shard.number, self.budget, self.config.checkpointing_steps
        if self.turn > 0 and self.done == 0:
            self.replica.overwrite(self._start())
        self.stepper.begin_turn(shard)
        before = budget.before(self.round, k)
        reached = self._reached()
        schedule = learning_rate_schedule(self.config, budget.of_shard(k), budget.total)
        steps = range(before + self.done, before + budget.steps[self.round][k])
        with closing(self.batches[k].load(steps)) as loaded:
            for step, batches in zip(steps, loaded, strict=True):
                result = self.stepper.step(shard, step, batches, schedule(step))
                self.done += 1
                earlier, reached = reached, self._reached()
                self.progress.step(reached, self.round + 1, k + 1, result)
                if self.watch is not None and self.watch.is_due(reached):
                    self._check_levels(reached, self.round + 1)
                if self._taken() == budget.on_rank(self.round, self.ranks.rank, self.ranks.count):
                    break  # the meeting at the round's end follows
                if self.ranks.stop_wanted():
                    self._meet(Intent.STOP)
                elif reached // every > earlier // every:
                    self._meet(Intent.SAVE)
        self.stepper.end_turn()
        if self.ensemble:
            self.mean.add(self.replica.tensors(), self.weights[k])
        self.turn, self.done = self.turn + 1, 0

    def _taken(self) -> int:
        through = self.shards[: self.turn]
        return sum(self.budget.steps[self.round][shard.number] for shard in through) + self.done

    def _reached(self) -> int:
        """Steps of the whole run if every rank is as far in the round as this one."""
        return self.budget.reached(self.round, self._taken(), self.ranks.count)

    def _meet(self, intent: Intent) -> bool:
        """Meet the other ranks inside a round; True when all are through with their shards.

        Until then every meeting makes a checkpoint, in which waiting ranks take part.
        """
        self.stepper.require_finite()
        said = self.ranks.gather([int(intent), self.turn, self.done])
        if all(theirs[0] == Intent.END for theirs in said):
            return True
        places = [RoundProgress(turn, done) for _, turn, done in said][: self.config.num_shards]
        step = self.budget.round_end(self.round - 1) if self.round else 0
        for rank, place in enumerate(places):
            turns = self.budget.steps[self.round][rank :: self.ranks.count]
            step += sum(turns[: place.turn]) + place.done
        self._save(step, places)
        if any(theirs[0] == Intent.STOP for theirs in said):
            self._stop()
        return False

    def _aggregate(self) -> None:
        """Make the proxies' mean, moved by the outer step, the aggregate; check its levels.

        theta <- sum_k (n_k / N) theta_k: arXiv 2407.15328, equation 4. With `aggregate_weights:
        uniform` all n_k count alike.
        """
        mean = self.mean.over(self.ranks, self.weights, self.replica.tensors())
        self.outer.apply(self._start(), mean, set(self.replica.parameters))
        self.replica.overwrite(mean.items())
        self.mean.clear()
        self._check_levels(self.budget.round_end(self.round), self.round + 1)

    def _end_round(self) -> None:
        """Save the aggregate, and tell how the round went."""
        if self.ranks.is_first:
            previous, folder = (self.run.rounds / str(self.round + i) for i in (0, 1))
            with self.replica.averaged(), new_folder(folder) as aside:
                self.family.save(aside, previous if previous.is_dir() else None)
        step = self.budget.round_end(self.round)
        self.round, self.turn, self.done = self.round + 1, 0, 0
        figures = self.ranks.gather([*self.progress.take_round(), self.ranks.stop_wanted()])
        loss, kept = (None, None) if self.joined else mean_figures(figures)
        self.joined = False
        extra = self.mean.figures() if self.ensemble else {}
        # Before the checkpoint: a run that is killed between the two tells it twice, which is
        # better than never.
        self.progress.round_ended(step, self.round, loss, kept, **extra)
        self._save(step)
        if any(stop_wanted for *_, stop_wanted in figures):
            self._stop()
        self._show_samples(step)

    def _check_levels(self, step: int, round: int) -> None:
        """Look at the held-out loss by noise level; of an ensemble, at that of the aggregate."""
        watch = self.watch
        if watch is None or not (self.shards or self.ensemble):
            return  # a surplus rank trains nothing: its weights do not count
        begun = time.monotonic()
        stopping = watch.check(step, together=self.ensemble)
        if self.ranks.is_first:
            watch.record.write(self.run.watch)
            self.progress.watched(watch.record, stopping, round, time.monotonic() - begun)

    def _audit(self) -> bool:
        """Audit the aggregate of the last round, on rank 0; whether to go on."""
        every = self.config.audit_interval
        is_last = self.round == len(self.budget.steps)
        if every is None or self.round == 0 or (self.round % every and not is_last):
            return True
        goes_on, stopping = True, False
        if self.audit is not None and self.ranks.is_first:
            try:
                with self.replica.averaged():
                    goes_on = self.audit(self.round)
            except Stopped:
                stopping = True  # the others are told first: they wait here
        goes_on, stopping = self.ranks.share([goes_on, stopping])
        if stopping:
            self._stop()
        return bool(goes_on)

    def _show_samples(self, step: int) -> None:
        if self.ranks.is_first:
            with self.replica.averaged():
                file = save_grid(self.setup, self.round)
            if file is not None:
                self.progress.sampled(step, self.round, file)

    def _stop(self) -> None:
        """Raise `Stopped`, as some rank was asked to stop."""
        self.setup.stop.note()
        self.setup.stop.obey()

    def _save(self, step: int, places: Sequence[RoundProgress] = ()) -> None:
        saved = self.checkpointer.save(step, self.round, places)
        if self.ranks.is_first:
            write_skips(self.run.skips, saved, self.setup.examples)
        self.progress.saved(step)

    def _start(self) -> Iterator[tuple[str, Tensor]]:
        """The aggregate that the round started from, read back from disk."""
        return self.replica.start(self.checkpointer.newest, self.round)
