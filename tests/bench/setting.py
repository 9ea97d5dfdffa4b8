"""A training that stands ready in this process, for benchmarks that drive it themselves."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from memshield.config.file import make_config
from memshield.families import load
from memshield.families.base import Placement
from memshield.rundir import EventLog, RunDir
from memshield.training.interruption import StopRequest
from memshield.training.loop import Trainer
from memshield.training.prepare import PreparedRun
from memshield.training.progress import Listener
from memshield.training.ranks import Ranks
from memshield.training.setup import Setup
from memshield.training.start import lead, make_encoder


@dataclass
class Setting:
    """What a run has at hand before its first step.

    Attributes:
        job: config, data and budget.
        setup: what a trainer is made from.
        encoding: seconds that the encoder took to be made: all pictures and captions, if cached.
    """

    prepared: PreparedRun
    setup: Setup
    encoding: float

    def trainer(self, progress: Listener) -> Trainer:
        """A trainer that tells `progress` of every step and round."""
        return Trainer(self.setup, progress)


def set_up(folder: Path, device: str, **settings: Any) -> Setting:
    """Prepare a run in `folder` as memshield.train would; in float32 unless told otherwise.

    Args:
        folder: of the run.
        device: cpu or cuda.
        settings: of the config; no samples are made unless they ask for them.
    """
    values = {
        name: str(value) if isinstance(value, Path) else value for name, value in settings.items()
    }
    config = make_config(
        {"mixed_precision": "no", "num_validation_images": 0, "output_dir": str(folder), **values}
    )
    run = RunDir(folder)
    run.path.mkdir(parents=True)
    prepared = lead(config, run, EventLog(run, 1))
    family = load(
        prepared.config, prepared.facts, Placement.of(prepared.config, torch.device(device))
    )
    begun = time.perf_counter()
    stop = StopRequest()
    ranks = Ranks(stop)
    reader, encoder = make_encoder(prepared, family, ranks)
    encoding = time.perf_counter() - begun
    setup = Setup(
        prepared.config,
        prepared.examples,
        prepared.budget,
        run,
        ranks,
        stop,
        family,
        encoder,
        reader,
    )
    return Setting(prepared, setup, encoding)
