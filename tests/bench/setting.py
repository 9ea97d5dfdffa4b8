"""A training that stands ready in this process, for benchmarks that drive it themselves."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from memshield.config.file import make_config
from memshield.data.batches import PictureReader
from memshield.families import load
from memshield.families.base import Family, Placement
from memshield.rundir import EventLog, RunDir
from memshield.training.interruption import StopRequest
from memshield.training.loop import Trainer
from memshield.training.prepare import Job
from memshield.training.progress import Listener
from memshield.training.ranks import Ranks
from memshield.training.start import lead, make_encoder
from memshield.training.step import Encoder


@dataclass
class Setting:
    """What a run has at hand before its first step.

    Attributes:
        job: config, data and budget.
        run: its directory.
        family: the model.
        reader: of the pictures, or None where encodings are cached.
        encoder: of batches.
        encoding: seconds that `encoder` took to be made: all pictures and captions, if cached.
    """

    job: Job
    run: RunDir
    family: Family
    reader: PictureReader | None
    encoder: Encoder
    encoding: float

    def trainer(self, progress: Listener) -> Trainer:
        """A trainer that tells `progress` of every step and round."""
        stop = StopRequest()
        job = self.job
        return Trainer(
            job.config, self.run, Ranks(stop), self.family, job.examples, self.reader,
            self.encoder, job.budget, progress, stop,
        )  # fmt: skip


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
    job = lead(config, run, EventLog(run, 1))
    family = load(job.config, job.facts, Placement.of(job.config, torch.device(device)))
    begun = time.perf_counter()
    reader, encoder = make_encoder(job, family, Ranks(StopRequest()))
    encoding = time.perf_counter() - begun
    return Setting(job, run, family, reader, encoder, encoding)
