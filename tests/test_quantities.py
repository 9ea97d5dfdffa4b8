"""Times, sizes and counts as a person reads them."""

from __future__ import annotations

import pytest

from memshield.quantities import duration, duration_range, plural, size


def test_durations() -> None:
    seconds = (0.2, 1, 89, 90, 5399, 7200, 200_000)
    assert [duration(s) for s in seconds] == [
        "200 ms", "1 s", "89 s", "2 min", "90 min", "2.0 h", "2.3 days",
    ]  # fmt: skip
    assert [duration(s, spelled=True) for s in seconds] == [
        "less than a second", "1 second", "89 seconds", "2 minutes", "90 minutes", "2.0 hours",
        "2.3 days",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (80, 85, "80 to 85 s"), (80, 300, "80 s to 5 min"), (121, 122, "about 2 min"),
        (7200, 28_800, "2.0 to 8.0 h"),
    ],
)  # fmt: skip
def test_a_range_of_durations(low: float, high: float, words: str) -> None:
    assert duration_range(low, high) == words


def test_sizes() -> None:
    assert [size(n) for n in (0, 999, 1500, 234_000, 2_000_000, 12_300_000_000, 10**16)] == [
        "0 bytes", "999 bytes", "1.5 kB", "234 kB", "2.0 MB", "12.3 GB", "10000.0 TB",
    ]  # fmt: skip


def test_counts() -> None:
    assert [plural(1, "step"), plural(2000, "step")] == ["1 step", "2,000 steps"]
    assert [plural(n, "copy", "copies") for n in (0, 1)] == ["0 copies", "1 copy"]
