"""Findings of a watch of the held-out loss at each band of noise levels, and their words.

Facts first (`findings`), words from the facts (`sentences`): the page and the report of an audit
say the same. No torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from memshield.audit.report import percent
from memshield.audit.watch_record import STANDARD_ERRORS, WatchCheck, WatchRecord

LEAST_RISE, LEAST_CHECKS = 0.002, 2
"""A smaller relative rise, or one in fewer checks in a row, is called none where nothing was
stopped: the defaults of stop_gain and stop_patience."""

Outcome = Literal["stopped", "stopped along", "risen", "learning"]


@dataclass(frozen=True)
class Band:
    """The finding at one band of noise levels.

    Attributes:
        number: its place, 0 for the lowest noise.
        lowest: its lowest held-out loss before it was stopped.
        lowest_step: of the check that found it.
        rise: how far its loss lay above that when it was stopped, or lies at the last check;
            relative.
        stopped: step at which it was stopped; None where it was not.
        outcome: stopped; stopped along with a band of more noise, without a rise of its own;
            risen without a stop; or learning still.
    """

    number: int
    lowest: float
    lowest_step: int
    rise: float
    stopped: int | None
    outcome: Outcome


def findings(record: WatchRecord) -> tuple[Band, ...]:
    """The findings of all bands, lowest noise first; none before the first check."""
    if not record.checks:
        return ()
    return tuple(_finding(record, number) for number in range(record.bands))


def _finding(record: WatchRecord, number: int) -> Band:
    stops = record.stopped or (None,) * record.bands
    stopped = stops[number]
    # After a stop, the loss is no longer that of learning from the pictures.
    seen = [check for check in record.checks if stopped is None or check.step <= stopped] or [
        record.checks[0]
    ]
    lowest, step = min((check.losses[number], check.step) for check in seen)
    rise = seen[-1].losses[number] / lowest - 1 if lowest > 0 else 0.0
    risen = all(_has_risen(check, number, lowest) for check in seen[-LEAST_CHECKS:])
    outcome: Outcome = "risen" if risen else "learning"
    if stopped is not None:
        # `level_stops.BandStops` stops a band that has not risen with the next one above.
        along = rise < LEAST_RISE and stopped in stops[number + 1 :]
        outcome = "stopped along" if along else "stopped"
    return Band(number, lowest, step, rise, stopped, outcome)


def _has_risen(check: WatchCheck, number: int, lowest: float) -> bool:
    """Whether a band's loss lies above its lowest by more than chance, as far as that is known."""
    difference = check.losses[number] - lowest
    error = check.errors[number] if check.errors else 0.0
    return lowest > 0 and difference >= max(LEAST_RISE * lowest, STANDARD_ERRORS * error)


def above_lowest(record: WatchRecord, band: Band) -> list[tuple[int, float]]:
    """Every check's step, and how far the band's loss lay above its lowest, relative."""
    scale = band.lowest if band.lowest > 0 else 1.0
    return [
        (check.step, (check.losses[band.number] - band.lowest) / scale) for check in record.checks
    ]


def height_of(found: Sequence[Band]) -> float:
    """A height above the lowest loss for the axes of all bands, relative.

    It shows the rises. A first fall is far larger and leaves it at the top.
    """
    rises = [band.rise for band in found if band.outcome in ("stopped", "risen")]
    return min(1.0, max(0.2, 1.5 * max(rises))) if rises else 1.0


def some_of(found: Sequence[Band], most: int) -> list[Band]:
    """At most so many bands, spread evenly, with the first and the last."""
    if len(found) <= most:
        return list(found)
    return [found[round(place * (len(found) - 1) / (most - 1))] for place in range(most)]


# In words


def bound_names(record: WatchRecord) -> list[str]:
    """The bounds of the bands as a person reads them, as short as tells them apart."""
    for digits in (2, 3, 4, 6):
        names = [_named(bound, digits) for bound in record.bounds]
        if len(set(names)) == len(names):
            break
    return names


def band_name(record: WatchRecord, band: Band) -> str:
    """Noise over signal of a band: "0.34 to 0.72"."""
    low, high = bound_names(record)[band.number : band.number + 2]
    return f"{low} to {high}"


def outcome_words(record: WatchRecord, band: Band) -> str:
    """A band's finding in a few words; "" before the second check."""
    if band.outcome == "stopped":
        return f"stopped at {band.stopped:,}"
    if band.outcome == "stopped along":
        return f"stopped along at {band.stopped:,}"
    if len(record.checks) < 2:
        return ""
    return f"up {percent(band.rise)}" if band.outcome == "risen" else "still learns"


def summary(record: WatchRecord) -> str:
    """The newest state in a few words."""
    outcomes = [band.outcome for band in findings(record)]
    if record.stops:
        number, verb = sum(one.startswith("stopped") for one in outcomes), "stopped"
    else:
        number, verb = outcomes.count("risen"), "risen"
    return f"{number} of {record.bands} bands {verb}"


def sentences(record: WatchRecord) -> list[str]:
    """Where memorization would have begun, or begins, and where learning goes on."""
    if not record.checks:
        return ["The held-out loss has not been looked at yet."]
    last = record.checks[-1].step
    if len(record.checks) == 1:
        return [
            f"The held-out loss was looked at once so far, at step {last:,}. Whether it rises "
            "shows from the second time on."
        ]
    by_outcome: dict[Outcome, list[Band]] = {}
    for band in findings(record):
        by_outcome.setdefault(band.outcome, []).append(band)
    lines = []
    if bands := by_outcome.get("stopped"):
        lines.append(
            f"Memorization would have begun at {_where(record, bands)}: the held-out loss was "
            f"lowest there {_when([band.lowest_step for band in bands])} and then turned upwards, "
            f"so training on the pictures stopped at these levels "
            f"{_when([band.stopped or 0 for band in bands])}."
        )
    if bands := by_outcome.get("stopped along"):
        lines.append(
            f"At {_where(record, bands)} the held-out loss had not risen: training stopped there "
            f"{_when([band.stopped or 0 for band in bands])}, along with levels of more noise."
        )
    if bands := by_outcome.get("risen"):
        begins = "At" if record.stops else "Memorization begins at"
        colon = " the" if record.stops else ": the"
        certain = ", which has not been enough for a stop" if record.stops else ""
        lines.append(
            f"{begins} {_where(record, bands)}{colon} held-out loss was lowest "
            f"{_when([band.lowest_step for band in bands])} and lies "
            f"{_shares([band.rise for band in bands])} higher at step {last:,}{certain}."
        )
    if len(bands := by_outcome.get("learning", [])) == record.bands:
        lines.append(
            f"The held-out loss shows a rise at no noise level: all still learn at step {last:,}."
        )
    elif bands:
        verb = "this level still learns" if len(bands) == 1 else "these levels still learn"
        lines.append(
            f"At {_where(record, bands)} the held-out loss shows no rise: {verb} at step {last:,}."
        )
    return lines


def _named(bound: float, digits: int) -> str:
    if bound == float("inf"):
        return "∞"
    # Not 1.6e+02.
    return f"{bound:,.0f}" if bound >= 10**digits else f"{bound:.{digits}g}"


def _where(record: WatchRecord, bands: Sequence[Band]) -> str:
    """Ranges of noise levels: neighbours are one range."""
    names = bound_names(record)
    ranges: list[list[int]] = []
    for band in bands:
        if ranges and ranges[-1][1] == band.number:
            ranges[-1][1] = band.number + 1
        else:
            ranges.append([band.number, band.number + 1])
    *first, last = [f"{names[low]} to {names[high]}" for low, high in ranges]
    joined = f"{', '.join(first)} and {last}" if first else last
    return f"noise {joined} of the signal ({len(bands)} of {record.bands} bands)"


def _when(steps: Sequence[int]) -> str:
    low, high = min(steps), max(steps)
    return f"at step {low:,}" if low == high else f"between steps {low:,} and {high:,}"


def _shares(shares: Sequence[float]) -> str:
    low, high = percent(min(shares)), percent(max(shares))
    return low if low == high else f"{low} to {high}"
