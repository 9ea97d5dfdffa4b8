"""What a training is made from: settings, pictures and a model, all of them ready."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from memshield.config.file import Config
from memshield.data.batches import MicroBatch, PictureReader
from memshield.data.examples import Examples
from memshield.families.base import Encoded, Family
from memshield.rundir import RunDir
from memshield.step_budget import StepBudget
from memshield.training.interruption import StopRequest
from memshield.training.ranks import Ranks


class Encoder(Protocol):
    """Gives the encodings of a batch, from a cache or from the encoders."""

    def encode(self, batch: MicroBatch) -> Encoded:
        """Tensors on the host or on the device."""


@dataclass(frozen=True)
class Setup:
    """A prepared run whose model is loaded and whose pictures can be encoded.

    Attributes:
        config: resolved settings.
        examples: the table.
        budget: steps of every shard in every round.
        run: the run directory, the same for all ranks.
        ranks: the processes of the run.
        stop: is asked after every step.
        family: the loaded model.
        encoder: of batches.
        reader: of the pictures, or None where encodings are cached.
        prompts: of the sample grids.
    """

    config: Config
    examples: Examples
    budget: StepBudget
    run: RunDir
    ranks: Ranks
    stop: StopRequest
    family: Family
    encoder: Encoder
    reader: PictureReader | None = None
    prompts: Sequence[str] | None = None
