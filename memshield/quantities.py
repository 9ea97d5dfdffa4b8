"""Times, sizes and counts in words."""

from __future__ import annotations

_TIMES = (  # below how many seconds, seconds of the unit, decimals, short and spelled name
    (1.0, 1e-3, 0, "ms", "millisecond"),
    (90.0, 1.0, 0, "s", "second"),
    (5400.0, 60.0, 0, "min", "minute"),
    (172_800.0, 3600.0, 1, "h", "hour"),
    (float("inf"), 86_400.0, 1, "days", "day"),
)


def plural(number: int, one: str, more: str = "") -> str:
    """A number with its noun: 1 step, 2 steps."""
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def duration(seconds: float, spelled: bool = False) -> str:
    """A time in its largest fitting unit.

    Args:
        seconds: at least 0.
        spelled: "3 minutes" instead of "3 min".
    """
    if spelled and seconds < 1:
        return "less than a second"
    number, short, name = _in_unit(seconds)
    return f"{number} {name}{'' if number == '1' else 's'}" if spelled else f"{number} {short}"


def duration_range(low: float, high: float) -> str:
    """A range of times; a shared unit is named once."""
    (first, unit, _), (last, unit_of_last, _) = _in_unit(low), _in_unit(high)
    if unit != unit_of_last:
        return f"{first} {unit} to {last} {unit_of_last}"
    return f"about {first} {unit}" if first == last else f"{first} to {last} {unit}"


def size(number: float) -> str:
    """A number of bytes in its largest fitting unit."""
    value, units = float(number), ["bytes", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        del units[0]
    whole = units[0] == "bytes" or (value >= 100 and units[0] != "TB")
    return f"{value:.0f} {units[0]}" if whole else f"{value:.1f} {units[0]}"


def _in_unit(seconds: float) -> tuple[str, str, str]:
    """The number, and the short and spelled names of its unit."""
    _, unit, decimals, short, name = next(row for row in _TIMES if seconds < row[0])
    return f"{seconds / unit:.{decimals}f}", short, name
