"""What watching the held-out loss by noise level has shown, as a file: watch.json. No torch."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from memshield.rundir import write_text


class Check(BaseModel):
    """One look at the held-out loss.

    Attributes:
        step: optimizer steps of the whole run that had been taken; 0 before the first.
        losses: mean held-out loss of each band, with the weights that would be saved.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int
    losses: tuple[float, ...]


class WatchRecord(BaseModel):
    """The held-out loss of a run by band of noise levels.

    Attributes:
        pictures: that are watched: neither trained on nor used by audits.
        draws: of picture and noise in each band, the same at every check.
        bounds: noise over signal where the bands begin, lowest noise first, and where the last
            one ends: one more than there are bands.
        stops: whether bands are stopped, or only watched.
        checks: in the order of their steps.
        stopped: step at which a band's training on the pictures ended; None where it goes on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = 1
    pictures: int
    draws: int
    bounds: tuple[float, ...]
    stops: bool
    checks: tuple[Check, ...] = ()
    stopped: tuple[int | None, ...] = ()

    @property
    def bands(self) -> int:
        """How many bands of noise levels there are."""
        return len(self.bounds) - 1

    def write(self, path: Path) -> None:
        """Write it whole or not at all."""
        write_text(path, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> WatchRecord | None:
        """What `write` wrote, or None where nothing was watched."""
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        return cls.model_validate(json.loads(text))
