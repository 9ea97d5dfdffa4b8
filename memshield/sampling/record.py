"""samples.json: generated pictures and their warnings, as they come. No torch.

Like private.json of an audit it says which training pictures are near, and is for the owner of the
training set only.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from memshield.redaction import redact
from memshield.rundir import write_text

NAME = "samples.json"
VERSION: Literal[1] = 1
Stage = Literal["fetching", "loading", "drawing", "comparing", "done", "failed"]
Level = Literal["near_copy", "close", "none"]
_SECONDS = 0.5
"""Progress is written at most this often."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NearnessRule(_Part):
    """When a picture is warned about.

    Attributes:
        source: audit where the threshold was calibrated on held-out pictures; else fixed.
        statistic: what is compared; it is lower the nearer a picture is.
        threshold: near-copies lie below.
        chance: share of fresh real pictures that lie below, too; None where it is not known.
        close: pictures below this are closer than usual; None where it is not known.
    """

    source: Literal["audit", "fixed"]
    statistic: str
    threshold: float
    chance: float | None = None
    close: float | None = None


class Nearness(_Part):
    """How near a picture is to the training picture that is nearest to it.

    Attributes:
        level: near_copy, close, or none.
        value: of the rule's statistic.
        distance: root mean square difference of the pixels, 0 to 1.
        as_near: fresh real pictures that lie as near, at most this share; None where not known.
        training: index of the training picture among the run's examples.
        mirrored: whether it is its mirror image that is so near.
        nearest: file of the training picture, where there is something to warn about.
    """

    level: Level
    value: float
    distance: float
    as_near: float | None
    training: int
    mirrored: bool
    nearest: str | None = None


class Made(_Part):
    """A picture.

    Attributes:
        file: PNG beside samples.json.
        seed, prompt: it was made from; no prompt without text.
        broken: whether it has values that are no numbers: the model is broken.
        warning: None where it was not compared, or not yet.
    """

    file: str
    seed: int
    prompt: str | None
    broken: bool = False
    warning: Nearness | None = None


class Samples(_Part):
    """The content of samples.json.

    Attributes:
        model: Hub id, or the run's name.
        revision: commit of the published model; None for a run.
        stage: what is being done.
        total: pictures in all.
        step, steps: of those that are being drawn.
        compared: training pictures that they are compared with; None for no comparison.
        not_compared: why there is none.
        run: name of the run whose training pictures they are.
        rule: when a picture is warned about.
        problem: in words, where it failed.
        pictures: that are done, in order.
    """

    version: Literal[1] = VERSION
    model: str
    revision: str | None = None
    stage: Stage = "fetching"
    total: int
    step: int = 0
    steps: int
    compared: int | None = None
    not_compared: str | None = None
    run: str | None = None
    rule: NearnessRule | None = None
    problem: str | None = None
    pictures: tuple[Made, ...] = ()


class Recorder:
    """Keeps samples.json, if there is a folder for it.

    Args:
        folder: for it; None to keep the values only.
        samples: as they begin.
    """

    def __init__(self, folder: Path | None, samples: Samples) -> None:
        self.samples = samples
        self._folder = folder
        self._written = 0.0
        self.note()

    def note(self, **changes: Any) -> None:
        """Note values at once."""
        self.samples = self.samples.model_copy(update=changes)
        if self._folder is not None:
            text = self.samples.model_dump_json(indent=1)
            write_text(self._folder / NAME, redact(text) + "\n")
            self._written = time.monotonic()

    def at_step(self, step: int) -> None:
        """Note the denoising step of the pictures that are being drawn."""
        if time.monotonic() - self._written >= _SECONDS:
            self.note(step=step)


def read_samples(folder: Path) -> Samples | None:
    """Read samples.json of a folder; None where it is missing or invalid."""
    try:
        return Samples.model_validate(json.loads((folder / NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError):
        return None
