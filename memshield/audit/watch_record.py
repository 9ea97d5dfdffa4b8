"""watch.json: the held-out loss of a run by noise level. No torch."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)

from memshield.rundir import write_text

STANDARD_ERRORS = 2.0
"""A rise counts when it is larger than so many of its standard errors."""


class WatchCheck(BaseModel):
    """One check of the held-out loss.

    Attributes:
        step: optimizer steps of the whole run that had been taken; 0 before the first.
        losses: mean held-out loss of each band, with the weights that would be saved.
        errors: standard error of each band's difference to its lowest loss so far, over pictures;
            () where it was not recorded.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int
    losses: tuple[FiniteFloat, ...]
    errors: tuple[FiniteFloat, ...] = ()

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        if not self.errors:
            del values["errors"]
        return values


class WatchRecord(BaseModel):
    """The held-out loss of a run by band of noise levels.

    Attributes:
        pictures: that are watched: neither trained on nor used by audits.
        draws: of picture and noise in each band, the same at every check.
        bounds: noise over signal where the bands begin, lowest noise first, and where the last
            one ends: one more than there are bands. Infinite where a schedule ends in pure noise.
        stops: whether bands are stopped, or only watched.
        checks: in the order of their steps.
        stopped: step at which a band's training on the pictures ended; None where it goes on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = 1
    pictures: int
    draws: int
    bounds: tuple[float, ...] = Field(min_length=2)
    stops: bool
    checks: tuple[WatchCheck, ...] = ()
    stopped: tuple[int | None, ...] = ()

    @field_serializer("bounds", when_used="json")
    def _written(self, bounds: tuple[float, ...]) -> list[float | str]:
        # JSON has no infinity. Not by a setting: inside a report, that of the report counts.
        return ["Infinity" if math.isinf(one) else one for one in bounds]

    @field_validator("bounds", mode="before")
    @classmethod
    def _read(cls, bounds: Any) -> Any:
        if not isinstance(bounds, list):
            return bounds
        # Reports of version 0.2 wrote it as null.
        return [math.inf if one is None else one for one in bounds]

    @model_validator(mode="after")
    def _is_of_its_bands(self) -> WatchRecord:
        if not all(low <= high for low, high in pairwise(self.bounds)):
            raise ValueError("bounds must rise")
        if any(len(check.losses) != self.bands for check in self.checks):
            raise ValueError(f"every check must hold a loss of each of the {self.bands} bands")
        if any(len(check.errors) not in (0, self.bands) for check in self.checks):
            raise ValueError(
                f"a check must hold an error of each of the {self.bands} bands, or none"
            )
        if self.stopped and len(self.stopped) != self.bands:
            raise ValueError(f"stopped must name each of the {self.bands} bands, or none")
        if any(first.step >= second.step for first, second in pairwise(self.checks)):
            raise ValueError("checks must be in the order of their steps")
        return self

    @property
    def bands(self) -> int:
        """The number of bands of noise levels."""
        return len(self.bounds) - 1

    def until(self, step: int) -> WatchRecord:
        """The record after so many steps of the whole run."""
        return self.model_copy(
            update={
                "checks": tuple(check for check in self.checks if check.step <= step),
                "stopped": tuple(
                    None if one is None or one > step else one for one in self.stopped
                ),
            }
        )

    def write(self, path: Path) -> None:
        """Write it whole or not at all."""
        write_text(path, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> WatchRecord | None:
        """Read watch.json; None where nothing was watched."""
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        return cls.model_validate(json.loads(text))
