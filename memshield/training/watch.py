"""Watching the held-out loss by noise level while training, and what follows from it.

A fixed set of draws (held-out picture, noise, level), spread over bands of noise levels, is
predicted again at every check. Bands whose loss rises can be stopped (`stopping`, `teacher`), and
the loss can be what anti-gradient control holds samples against (`anti_gradient.HeldOutBank`).
"""

from __future__ import annotations

from collections.abc import Sequence
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
from memshield.families.base import Draw, Encoded
from memshield.randomness import Purpose, numpy_generator, torch_seed
from memshield.training.anti_gradient import HeldOutBank
from memshield.training.checkpoint import Checkpoint, CheckpointFile, RankPosition, stream
from memshield.training.ensemble import State
from memshield.training.level_stops import BandStops, LowestLosses
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


def batches_of_one_size(sizes: Tensor, most: int) -> list[Tensor]:
    """Places that are predicted together: of one size each, and full but for the last of a size.

    Args:
        sizes: [N] number of the size that each place has.
        most: places in a batch.
    """
    groups = [(sizes == size).nonzero().flatten() for size in sizes.unique()]
    return [batch for group in groups for batch in group.split(most)]


class HeldOutWatch:
    """Checks the held-out loss of a run, and holds what is decided by it.

    Args:
        setup: of the training; its ranks share the work of a check between rounds.
        replica: the trained parameters.

    Attributes:
        draws: of all checks.
        lowest: losses of every band so far.
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
        self._reader = setup.reader
        self._encoder = setup.encoder
        self._ranks = setup.ranks
        self._total = setup.budget.total
        self._shape = (config.watch_bins, config.watch_draws)
        pictures = torch.from_numpy(setup.examples.watched())
        self.draws = fixed_draws(pictures, family.num_slots, *self._shape, config.seed)
        self._sizes = self.sizes_in(Buckets.of(config, setup.examples))
        levels = family.noise_levels()
        starts = band_edges(family.num_slots, config.watch_bins)[:-1]
        self.record = WatchRecord(
            pictures=len(pictures),
            draws=config.watch_draws,
            bounds=tuple(float(levels[t]) for t in [*starts, len(levels) - 1]),
            stops=config.stop_levels,
            stopped=(None,) * config.watch_bins,
        )
        of_draws = self.draws.picture.view(self._shape)
        self.lowest = LowestLosses(of_draws)
        self.stops: BandStops | None = None
        if config.stop_levels:
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
            self.bank.learn(own.flatten(), self.draws.slot)
        means, errors = losses.mean(dim=1).tolist(), self.lowest.see(losses)
        found = WatchCheck(step=step, losses=tuple(means), errors=tuple(errors))
        self.record = self.record.model_copy(
            update={"checks": (*self.record.checks, found), "stopped": self._stopped_steps()}
        )
        return stopping

    def _measure(self, together: bool) -> Tensor:
        """Losses of the fixed draws with the weights as they are, [bands, draws] in float64."""
        batches = batches_of_one_size(self._sizes, self._config.train_batch_size)
        if together:
            batches = batches[self._ranks.rank :: self._ranks.count]
        found = self._losses(batches)
        if together:
            self._ranks.sum([found])
        return found.view(self._shape)

    def _losses_of_zeros(self) -> Tensor:
        """Mean loss of a prediction of zeros, [bands]."""
        batches = batches_of_one_size(self._sizes, self._config.train_batch_size)
        return self._losses(batches, zeros=True).view(self._shape).mean(dim=1)

    def sizes_in(self, buckets: Buckets | None) -> Tensor:
        """[bands x draws] aspect bucket of each draw; all alike without buckets."""
        if buckets is None:
            return torch.zeros_like(self.draws.picture)
        return torch.from_numpy(buckets.number[self.draws.picture.numpy()])

    def _losses(self, batches: Sequence[Tensor], zeros: bool = False) -> Tensor:
        """Losses of the draws in these batches, [bands x draws] in float64; 0 of the others."""
        family, device = self._family, self._family.device
        found = torch.zeros(len(self.draws.picture), dtype=torch.float64)
        for places in batches:
            index = self.draws.picture[places].numpy()
            batch = micro_batch(self._reader, self._examples, index)
            encoded = {name: t.to(device) for name, t in self._encoder.encode(batch).items()}
            draw = self._draw(encoded, places)
            with family.running():
                predicted = torch.zeros_like(draw.noise) if zeros else family.predict(encoded, draw)
                found[places] = family.loss(predicted, draw).value.double().cpu()
        return found

    def _draw(self, encoded: Encoded, places: Tensor) -> Draw:
        """What is random of a batch.

        Noise is drawn for the draws of one size in each `train_batch_size` places, so that it
        depends neither on what they are predicted with nor on the rank.
        """
        family, most = self._family, self._config.train_batch_size
        alike = self._sizes == self._sizes[places[0]]
        parts = []
        for part in (places // most).unique().tolist():
            together = alike[part * most : (part + 1) * most].nonzero().flatten() + part * most
            # Those of another batch only give the noise its shape: any encoding does for them.
            rows = torch.searchsorted(places, together).clamp(max=len(places) - 1)
            seed = torch_seed(self._config.seed, Purpose.WATCH, int(together[0]))
            draw = family.draw(
                {name: tensor[rows.to(tensor.device)] for name, tensor in encoded.items()},
                torch.Generator(family.device).manual_seed(seed),
                self.draws.slot[together].to(family.device),
            )
            parts.append(draw.only(torch.isin(together, places).to(family.device)))
        return Draw.joined(parts)

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

    def _holders(self) -> dict[str, LowestLosses | BandStops | HeldOutBank | None]:
        return {"lowest": self.lowest, "stops": self.stops, "bank": self.bank}

    def _state(self) -> tuple[State, dict[str, str]]:
        tensors: State = {"last_stop": torch.tensor(self._last_stop)}
        for name, holder in self._holders().items():
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
        for name, holder in self._holders().items():
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
