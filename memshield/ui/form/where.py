"""Where a training runs: on this machine, or on hardware of Hugging Face Jobs under a ceiling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from memshield.errors import UserError
from memshield.forecast.estimate import Estimate, estimate
from memshield.forecast.flavours import FLAVOURS, ONE_GPU, Hardware, gpus_of, machine_with
from memshield.forecast.hardware import Machine
from memshield.jobs.ceiling import Ceiling, ceiling_of
from memshield.ui.form.planning import Plan
from memshield.ui.widgets.words import about, dollars_in_words

Where = Literal["here", "jobs"]
DOLLARS = 5.0
"""The ceiling that the form begins with."""
_USUAL = "a10g-small"
_LOWER = "lower the batch or the resolution, or turn on gradient checkpointing"


@dataclass(frozen=True)
class Offer:
    """Hardware that Jobs can run on.

    Attributes:
        hardware: with its memory.
        an_hour: its price in dollars.
    """

    hardware: Hardware
    an_hour: float

    @property
    def name(self) -> str:
        """The Hub's."""
        return self.hardware.name

    @property
    def label(self) -> str:
        """Its name, what it has, and its price."""
        count = gpus_of(self.name)
        several = f"{count} x " if count > 1 else ""
        price = f"${self.an_hour:.2f} an hour" if self.an_hour else "free"
        return f"{self.name}: {several}{self.hardware.device}, {price}"

    @property
    def machine(self) -> Machine:
        """One training process's share of it."""
        return machine_with(self.hardware)


@dataclass(frozen=True)
class Destination:
    """Hardware of Jobs that a visitor chose.

    Attributes:
        offer: the hardware.
        limit: that follows from the ceiling.
    """

    offer: Offer
    limit: Ceiling


def offers(prices: Mapping[str, float]) -> tuple[Offer, ...]:
    """What Jobs can run on, the cheapest first.

    Args:
        prices: dollars an hour by the Hub's names.
    """
    known = (Offer(FLAVOURS[name], price) for name, price in prices.items() if name in FLAVOURS)
    return tuple(sorted(known, key=lambda one: (one.an_hour, one.name)))


def usual_of(offered: Sequence[Offer]) -> str | None:
    """The hardware that the form begins with: a usual one, or the cheapest with a GPU."""
    names = [one.name for one in offered]
    with_gpu = [one.name for one in offered if one.hardware.has_gpu]
    return _USUAL if _USUAL in names else next(iter([*with_gpu, *names]), None)


def read_destination(
    values: Mapping[str, Any], offered: Sequence[Offer]
) -> tuple[Destination | None, list[UserError]]:
    """Where a form says to run, and what is wrong with that.

    Args:
        values: by input, of any type.
        offered: hardware of Jobs.

    Returns:
        None for this machine, or where something is wrong.
    """
    place = values.get("place")
    if place in (None, "here"):
        return None, []
    if place != "jobs":
        return None, [UserError("place", f"cannot be {place!r:.80}", "Choose one of the two.")]
    if not offered:
        return None, [UserError(
            "hardware", "the Hub does not say now what Jobs can run on", "Try again in a moment."
        )]  # fmt: skip
    name, offer = values.get("hardware"), None
    offer = next((one for one in offered if one.name == name), None)
    errors = []
    if offer is None:
        errors.append(UserError("hardware", "is not chosen", "Choose one of the list."))
    dollars = _dollars(values.get("ceiling"))
    if dollars is None:
        errors.append(UserError("ceiling", "is not a sum of money", "Give dollars, such as 5."))
    if offer is None or dollars is None:
        return None, errors
    try:
        return Destination(offer, ceiling_of(offer.name, offer.an_hour, dollars)), []
    except UserError as error:
        return None, [error]


def _dollars(value: Any) -> float | None:
    try:
        found = float(str(value).strip().removeprefix("$")) if value not in (None, "") else None
    except ValueError:
        return None
    return found if found is not None and math.isfinite(found) and found > 0 else None


def planned_on(made: Plan, offer: Offer) -> Plan:
    """A plan for the machine of an offer, with its estimate under the offer's name."""
    if made.here is None:
        return made
    named = replace(made.here, hardware=offer.name, device=offer.hardware.device)
    return replace(made, here=named)


def problems_there(made: Plan, offered: Sequence[Offer]) -> list[UserError]:
    """What stands against a training on Jobs, though its settings are right.

    Args:
        made: the plan on the chosen hardware.
        offered: all hardware.
    """
    found = []
    trackers = (made.config and made.config.report_to) or ()
    others = [name for name in trackers if name != "tensorboard"]
    if others:
        found.append(UserError(
            "report_to", f"{others[0]} needs a key, and none enters the job",
            "Leave it out, or use tensorboard.",
        ))  # fmt: skip
    if made.here is not None and made.here.fits == "no":
        found.append(_memory_problem(made, made.here, offered))
    return found


def _memory_problem(made: Plan, here: Estimate, offered: Sequence[Offer]) -> UserError:
    low, high = (one / 1e9 for one in (here.memory_bytes.low, here.memory_bytes.high))
    needs = f"{low:.0f} to {high:.0f} GB"
    on = [(one.name, _estimate_on(made, one)) for one in offered if one.hardware.has_gpu]
    fitting = [name for name, it in on if it is not None and it.fits != "no"]
    if not fitting:
        return UserError(
            "hardware", f"no hardware of Jobs has the memory that this training needs, {needs}",
            f"{_LOWER.capitalize()}.",
        )  # fmt: skip
    there = (here.memory_there or 0) / 1e9
    return UserError(
        "hardware", f"{here.hardware} has {there:.0f} GB, and this training needs {needs}",
        f"Choose {' or '.join(fitting[:2])}, or {_LOWER}.",
    )  # fmt: skip


def _estimate_on(made: Plan, offer: Offer) -> Estimate | None:
    config, size = made.config, made.size
    if made.counted is None or size is None or config is None:
        return None
    if config.mixed_precision is not None:
        # Of the settings, only the precision follows from the machine: the totals are the same.
        precision = offer.machine.precision(size.family)
        config = config.model_copy(update={"mixed_precision": precision})
    return estimate(config, made.counted, size, offer.hardware, offer.an_hour)


def cost_sentences(made: Plan | None, there: Destination) -> list[str]:
    """Time, cost and ceiling of a training on Jobs."""
    found = None if made is None else made.here
    lines = cost_words(found, there)
    if made is not None and made.config is not None and made.config.push_to_hub:
        lines.append("It is published from here once it is done: under Runs, Publish.")
    return lines


def cost_words(found: Estimate | None, there: Destination) -> list[str]:
    """Time, cost and ceiling of a training on Jobs, in sentences."""
    offer, limit = there.offer, there.limit
    where = f"{offer.name} ({offer.hardware.device})"
    lines = []
    if found is None:
        lines.append(f"How long it takes on {where} is not known yet.")
    else:
        cost = ""
        if found.dollars is not None and offer.an_hour:
            cost = f" and {dollars_in_words(found.dollars.low, found.dollars.high)}"
        lines.append(
            f"About {about(found.middle_s)}{cost} on {where}: a rough estimate, without the "
            "minutes to start."
        )
        if gpus_of(offer.name) > 1:
            lines.append(ONE_GPU)
        if found.middle_s > limit.saves_after:
            lines.append("It does not get to the end under this ceiling.")
    return [*lines, f"{limit.in_words()}."]
