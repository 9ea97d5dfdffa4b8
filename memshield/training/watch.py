"""Watching the held-out loss by noise level while training, and what follows from it.

A fixed set of draws (held-out picture, noise, level), spread over bands of noise levels, is
predicted again at every check. Bands whose loss rises can be stopped (`stopping`, `teacher`), and
the loss can be what anti-gradient control holds samples against (`anti_gradient.HeldOutBank`).
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from memshield.audit.watch_record import WatchCheck, WatchRecord
from memshield.data.batches import micro_batch
from memshield.data.buckets import Buckets
from memshield.randomness import Purpose, numpy_generator, torch_seed
from memshield.training.anti_gradient import HeldOutBank
from memshield.training.checkpoint import Checkpoint, CheckpointFile, RankPosition, stream
from memshield.training.ensemble import State
from memshield.training.level_stops import BandStops
from memshield.training.replica import Replica
from memshield.training.setup import Setup
from memshield.training.step import NonFiniteLossError
from memshield.training.teacher import Teacher


class Draws(NamedTuple):
    """The fixed draws of all checks, band after band.

    Attributes:
        picture: [bands x draws] example of each.
        slot: [bands x draws] noise level.
    """

    picture: Tensor
    slot: Tensor


def band_edges(slots: int, bands: int) -> list[int]:
    """First slot of each band, and T: slot t belongs to band t * bands // T."""
    return [-(-slots * band // bands) for band in range(bands + 1)]


def fixed_draws(pictures: Tensor, slots: int, bands: int, draws: int, seed: int) -> Draws:
    """Draws of picture and level: pictures in turn, levels spread evenly inside their band.

    Args:
        pictures: [P] example indices of the watched pictures.
        slots: T.
        bands: see `band_edges`.
        draws: in each band.
        seed: of the run.
    """
    generator = numpy_generator(seed, Purpose.WATCH)
    order = generator.permutation(len(pictures))
    turns = order[np.arange(bands * draws) % len(pictures)]
    edges = band_edges(slots, bands)
    spread = (np.arange(draws) + generator.random((bands, draws))) / draws
    chosen = [
        # A picture that comes in several bands meets another place in each of them.
        generator.permutation(low + np.floor(spread[band] * (high - low)).astype(np.int64))
        for band, (low, high) in enumerate(pairwise(edges))
    ]
    return Draws(pictures[torch.from_numpy(turns)], torch.from_numpy(np.concatenate(chosen)))


class HeldOutWatch:
    """Checks the held-out loss of a run, and holds what is decided by it.

    Args:
        setup: of the training; its ranks share the work of a check between rounds.
        replica: the trained parameters.

    Attributes:
        stops: the bands that were stopped; None where bands are only watched.
        teacher: of stopped bands.
        bank: what samples are held against, if it is the held-out loss.
        record: of all checks.
    """

    def __init__(self, setup: Setup, replica: Replica) -> None:
        config, family = setup.config, setup.family
        self._config = config
        self._family = family
        self._replica = replica
        self._examples = setup.examples
        buckets = Buckets.of(config, setup.examples)
        self._buckets = None if buckets is None else buckets.number
        self._reader = setup.reader
        self._encoder = setup.encoder
        self._ranks = setup.ranks
        self._total = setup.budget.total
        self._shape = (config.watch_bins, config.watch_draws)
        pictures = torch.from_numpy(setup.examples.watched())
        self._draws = fixed_draws(pictures, family.num_slots, *self._shape, config.seed)
        levels = family.noise_levels()
        starts = band_edges(family.num_slots, config.watch_bins)[:-1]
        self.record = WatchRecord(
            pictures=len(pictures),
            draws=config.watch_draws,
            bounds=tuple(float(levels[t]) for t in [*starts, len(levels) - 1]),
            stops=config.stop_levels,
            stopped=(None,) * config.watch_bins,
        )
        self.stops: BandStops | None = None
        if config.stop_levels:
            of_draws = self._draws.picture.view(self._shape)
            self.stops = BandStops(
                of_draws,
                config.stop_patience,
                config.stop_gain,
                self._losses_of_zeros() if family.facts.repository is None else None,
            )
        self.teacher = Teacher(family, replica)
        self.bank: HeldOutBank | None = None
        if config.loss_bank_reference == "held_out":
            self.bank = HeldOutBank(family.num_slots, family.device)
        self._is_stopped = torch.zeros(config.watch_bins, dtype=torch.bool, device=family.device)
        self._any_stopped = False
        self._last_stop = 0

    # Checks

    def is_due(self, step: int) -> bool:
        """Whether a check follows a step of the whole run: so many, evenly over the run.

        Never inside a round of an ensemble: what is watched is the aggregate.
        """
        if self._config.num_shards > 1:
            return False
        checks = self._config.watch_checks
        return step * checks // self._total > (step - 1) * checks // self._total

    def check(self, step: int, together: bool) -> list[int]:
        """Look at the held-out loss and decide.

        Args:
            step: optimizer steps of the whole run so far.
            together: whether all ranks do this now, with the same weights, each its part.

        Returns:
            Bands that stop with this check.

        Raises:
            NonFiniteLossError: a held-out loss is NaN or infinite.
        """
        with self._replica.averaged():
            losses = self._measure(together)
        if not losses.isfinite().all():
            raise NonFiniteLossError(f"the held-out loss after step {step} is not a number")
        stopping = self.stops.see(losses, step) if self.stops is not None else []
        if stopping:
            self._take_stops()
            self.teacher.copy()
            self._last_stop = step
        if self.bank is not None:
            # Samples are held against the network that they are predicted by.
            own = self._measure(together) if self._replica.ema is not None else losses
            self.bank.learn(own.flatten(), self._draws.slot)
        found = WatchCheck(step=step, losses=tuple(losses.mean(dim=1).tolist()))
        self.record = self.record.model_copy(
            update={"checks": (*self.record.checks, found), "stopped": self._stopped_steps()}
        )
        return stopping

    def _measure(self, together: bool) -> Tensor:
        """Losses of the fixed draws with the weights as they are, [bands, draws] in float64."""
        size = self._config.train_batch_size
        found = torch.zeros(len(self._draws.picture), dtype=torch.float64)
        batches = range(0, len(found), size)
        if together:
            batches = batches[self._ranks.rank :: self._ranks.count]
        for start in batches:
            found[start : start + size] = self._losses(slice(start, start + size))
        if together:
            self._ranks.sum([found])
        return found.view(self._shape)

    def _losses_of_zeros(self) -> Tensor:
        """Mean loss of a prediction of zeros, [bands]."""
        batch = self._config.train_batch_size
        found = [
            self._losses(slice(start, start + batch), zeros=True)
            for start in range(0, len(self._draws.slot), batch)
        ]
        return torch.cat(found).view(self._shape).mean(dim=1)

    def _losses(self, chosen: slice, zeros: bool = False) -> Tensor:
        """Losses of some draws, [B] in float64; pictures of one size are predicted together."""
        pictures = self._draws.picture[chosen].numpy()
        found = torch.zeros(len(pictures), dtype=torch.float64)
        number = np.zeros_like(pictures) if self._buckets is None else self._buckets[pictures]
        for bucket in np.unique(number):
            places = torch.from_numpy(np.flatnonzero(number == bucket))
            found[places] = self._losses_of(chosen.start + places, zeros)
        return found

    def _losses_of(self, chosen: Tensor, zeros: bool) -> Tensor:
        family = self._family
        batch = micro_batch(self._reader, self._examples, self._draws.picture[chosen].numpy())
        device = family.device
        encoded = {name: t.to(device) for name, t in self._encoder.encode(batch).items()}
        slots = self._draws.slot[chosen].to(device)
        # Seeded by its place, so that a batch draws the same on whichever rank it is.
        seed = torch_seed(self._config.seed, Purpose.WATCH, int(chosen[0]))
        draw = family.draw(encoded, torch.Generator(device).manual_seed(seed), slots)
        with family.running():
            prediction = torch.zeros_like(draw.noise) if zeros else family.predict(encoded, draw)
            return family.loss(prediction, draw).value.double().cpu()

    # What a step asks

    def stopped(self, slots: Tensor) -> Tensor | None:
        """Which samples are at a stopped level, [B] bool; None where none is stopped at all."""
        if not self._any_stopped:
            return None
        found = self._is_stopped[slots * self._config.watch_bins // self._family.num_slots]
        return found if bool(found.any()) else None

    def rehearse(self, bands: int) -> None:
        """Stand as if so many bands of levels had stopped, for a forecast of what steps take."""
        if self.stops is not None:
            self.teacher.copy()
            self.stops.stopped[:bands] = 0
            self._take_stops()

    def _take_stops(self) -> None:
        assert self.stops is not None
        self._is_stopped.copy_(self.stops.stopped >= 0)
        self._any_stopped = bool(self._is_stopped.any())

    def _stopped_steps(self) -> tuple[int | None, ...]:
        if self.stops is None:
            return self.record.stopped
        return tuple(step if step >= 0 else None for step in self.stops.stopped.tolist())

    # Checkpoints

    def parts(self, at: RankPosition) -> dict[str, CheckpointFile]:
        """What the checks have found and decided, and the teacher."""
        if not at.is_first or not self.record.checks:
            return {}
        last = self.record.checks[-1].step
        parts = {"watch": CheckpointFile(f"watch-{last}", self._state)}
        if self._any_stopped:
            version = f"teacher-{self._last_stop}"
            parts["teacher"] = CheckpointFile(version, lambda: (self.teacher.state, {}))
        return parts

    def _state(self) -> tuple[State, dict[str, str]]:
        tensors: State = {"last_stop": torch.tensor(self._last_stop)}
        for name, holder in (("stops", self.stops), ("bank", self.bank)):
            if holder is not None:
                tensors |= {f"{name}.{key}": t for key, t in holder.state_dict().items()}
        return tensors, {"record": self.record.model_dump_json()}

    def load(self, checkpoint: Checkpoint, at: RankPosition) -> None:
        """Go on from the checks that were made."""
        if not checkpoint.has("watch"):
            return
        self.record = _record_of(checkpoint.path("watch"))
        state = dict(stream(checkpoint.path("watch")))
        self._last_stop = int(state["last_stop"])
        for name, holder in (("stops", self.stops), ("bank", self.bank)):
            if holder is not None:
                prefix = f"{name}."
                holder.load_state_dict(
                    {k.removeprefix(prefix): t for k, t in state.items() if k.startswith(prefix)}
                )
        if self.stops is not None:
            self._take_stops()
        if checkpoint.has("teacher"):
            self.teacher.load(dict(stream(checkpoint.path("teacher"))))


def _record_of(path: Path) -> WatchRecord:
    with safe_open(path, framework="pt") as file:
        return WatchRecord.model_validate_json(file.metadata()["record"])
