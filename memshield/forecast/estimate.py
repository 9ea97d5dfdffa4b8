"""Time, memory and price of a training before it starts: estimated or measured ranges."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from memshield.config.file import Config
from memshield.errors import UserError
from memshield.forecast.cost import ModelSize, cost_of, own_model
from memshield.forecast.flavours import Hardware, hardware_of
from memshield.forecast.hardware import this_machine
from memshield.forecast.totals import Numbers, numbers
from memshield.quantities import duration

TIME_FACTOR = 2.0
"""A rough estimate may be wrong by this much either way."""
MEMORY_FACTOR = 1.4
MEASURED_FACTOR = 1.2
"""The uncertainty of a few measured steps: other shards, a warmer machine, other load."""


@dataclass(frozen=True)
class Range:
    """From low to high."""

    low: float
    high: float

    @classmethod
    def about(cls, middle: float, factor: float) -> Range:
        """From a `factor`-th of the middle to `factor` times it."""
        return cls(middle / factor, middle * factor)


@dataclass(frozen=True)
class Estimate:
    """The time, memory and price of a training.

    Attributes:
        hardware: name of the hardware that it is for.
        device: what that computes with; "" where the name says it.
        by_runs: whether the time follows from an earlier run on the same hardware.
        seconds: of the whole run, without downloads.
        memory_bytes: at the peak.
        memory_there: bytes that the hardware has; None where that is not known.
        dollars: at the Hub's price; None where that is not known.
        measured: whether steps were really taken; else it is a rough model's.
    """

    hardware: str
    seconds: Range
    memory_bytes: Range
    memory_there: int | None
    dollars: Range | None
    measured: bool
    device: str = ""
    by_runs: bool = False

    @property
    def basis(self) -> str:
        """What the time follows from, in a few words."""
        if self.by_runs:
            return "measured on an earlier run"
        return "measured" if self.measured else "a rough estimate"

    @property
    def middle_s(self) -> float:
        """Seconds in the middle of the range, which spreads by a factor either way."""
        return float((self.seconds.low * self.seconds.high) ** 0.5)

    @property
    def fits(self) -> Literal["yes", "perhaps", "no"] | None:
        """Whether the memory suffices; None where it is not known how much there is."""
        if self.memory_there is None:
            return None
        if self.memory_bytes.high <= self.memory_there:
            return "yes"
        return "no" if self.memory_bytes.low > self.memory_there else "perhaps"

    @property
    def place(self) -> str:
        """The hardware with its device, in words."""
        return f"{self.hardware} ({self.device})" if self.device else self.hardware

    def lines(self) -> list[str]:
        """In words, a line each."""
        words = f"about {duration(self.middle_s)} on {self.place} ({self.basis})"
        lines = [f"time: {words}"]
        memory = f"{self.memory_bytes.low / 1e9:.1f} to {self.memory_bytes.high / 1e9:.1f} GB"
        if self.memory_there is None:
            lines.append(f"memory: {memory}")
        else:
            lines.append(f"memory: {memory} of {self.memory_there / 1e9:.0f} GB{_WORDS[self.fits]}")
        if self.dollars is not None:
            lines.append(f"price: ${self.dollars.low:.2f} to ${self.dollars.high:.2f}")
        return lines


_WORDS = {
    None: "",
    "yes": "",
    "perhaps": "; it may not fit",
    "no": "; it does not fit: lower the batch or the resolution, or turn on gradient_checkpointing",
}


def estimate(
    config: Config,
    numbers: Numbers,
    model: ModelSize,
    hardware: Hardware,
    dollars_an_hour: float | None = None,
) -> Estimate:
    """A rough estimate from the sizes of model and pictures.

    Args:
        config: settings.
        numbers: of the same settings.
        model: from its description.
        hardware: one of `FLAVOURS`, or this machine's.
        dollars_an_hour: from `memshield.forecast.prices`; None where it is not known.
    """
    cost = cost_of(config, numbers, model, hardware)
    seconds = Range.about(cost.total_s, TIME_FACTOR)
    return Estimate(
        hardware=hardware.name,
        seconds=seconds,
        memory_bytes=Range.about(cost.memory_bytes, MEMORY_FACTOR),
        memory_there=hardware.memory_bytes,
        dollars=_dollars(seconds, dollars_an_hour),
        measured=False,
        device=hardware.device,
    )


def seconds_on_cpu(config: Config, rows: int, threads: int) -> Range | None:
    """A rough estimate of how long a training takes on this machine's CPU.

    Args:
        config: settings.
        rows: pictures of the split.
        threads: that compute.

    Returns:
        None where the size of the model is not known beforehand.
    """
    size = own_model(config.model_config_name_or_path)
    hardware = hardware_of(replace(this_machine(), gpus=(), cores=threads))
    if size is None or hardware is None:
        return None
    return estimate(config, numbers(config, rows), size, hardware).seconds


def measured_estimate(
    plan: str,
    memory_there: int | None = None,
    dollars_an_hour: float | None = None,
) -> Estimate:
    """The estimate that replaces the rough one once steps were taken on the real machine.

    Args:
        plan: what `python -m memshield plan --measure --json` of the settings printed.
        memory_there: bytes of the device; None where not known.
        dollars_an_hour: as in `estimate`.

    Raises:
        UserError: the text is something else.
    """
    found = _measured(plan)
    seconds = Range.about(found["total_s"], MEASURED_FACTOR)
    return Estimate(
        hardware=str(found["device"])[:100],
        seconds=seconds,
        memory_bytes=Range(found["peak_bytes"], found["peak_bytes"] * MEASURED_FACTOR),
        memory_there=memory_there,
        dollars=_dollars(seconds, dollars_an_hour),
        measured=True,
    )


def cut_captions_in(plan: str) -> str | None:
    """What the same text says of captions that are too long; None where none is."""
    found = _read(plan).get("cut_captions")
    return str(found["words"])[:400] if isinstance(found, dict) and "words" in found else None


def lost_to_squares_in(plan: str) -> float | None:
    """What the same text says of how much the pictures lose in squares; None where it does not."""
    found = _read(plan).get("lost_to_squares")
    return found if isinstance(found, float) and 0 <= found <= 1 else None


def _read(plan: str) -> Mapping[str, Any]:
    found = json.loads(plan[max(0, plan.find("{")) :])
    if not isinstance(found, dict):
        raise ValueError
    return found


def _measured(plan: str) -> Mapping[str, Any]:
    try:
        found = _read(plan)["measured"]
        numbers = [float(found[name]) for name in ("total_s", "peak_bytes")]
        if not all(0 <= number < float("inf") for number in numbers):
            raise ValueError
        return {**found, "device": str(found["device"])}
    except (ValueError, KeyError, TypeError):
        raise UserError(
            "plan", "is not what `plan --measure --json` prints", "Measure again."
        ) from None


def _dollars(seconds: Range, an_hour: float | None) -> Range | None:
    if an_hour is None:
        return None
    return Range(seconds.low / 3600 * an_hour, seconds.high / 3600 * an_hour)
