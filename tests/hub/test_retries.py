"""How long is waited, on a clock that nobody has to wait for."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from memshield.hub.retries import IMPATIENT, OutOfRetriesError, RetryPolicy
from memshield.network import TryAgainError
from tests.hub.conftest import FakeClock


def failing(times: int, *asked: str) -> tuple[list[int], object]:
    calls: list[int] = []

    def call() -> str:
        calls.append(1)
        if len(calls) <= times:
            raise TryAgainError("busy", asked[len(calls) - 1] if asked else None)
        return "done"

    return calls, call


def waited(clock: FakeClock, times: int, *asked: str, **changes: float) -> list[float]:
    told: list[str] = []
    _, call = failing(times, *asked)
    patience = RetryPolicy(**changes)  # type: ignore[arg-type]
    assert patience.keep_trying(call, clock, told.append) == "done"  # type: ignore[arg-type]
    assert len(told) == times
    return clock.slept


def test_waits_double_up_to_the_longest(clock: FakeClock) -> None:
    assert waited(clock, 6, most=10) == [1, 2, 4, 8, 10, 10]


def test_the_hub_may_ask_for_seconds_or_a_time(clock: FakeClock) -> None:
    later = datetime.fromtimestamp(clock.time(), UTC) + timedelta(seconds=30)
    date = format_datetime(later, usegmt=True)
    # The other times are ours: what the Hub asks does not double them.
    assert waited(clock, 4, "5", date, "soon", "") == [5, 25, 4, 8]


def test_a_time_that_is_past_is_now(clock: FakeClock) -> None:
    assert waited(clock, 1, "Wed, 21 Oct 2015 07:28:00 GMT") == [1]
    clock.slept.clear()
    assert waited(clock, 1, "0") == [1]


@pytest.mark.parametrize("zone", ["", " -0000"])
def test_a_date_without_a_zone_is_of_greenwich(
    clock: FakeClock, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        later = datetime.fromtimestamp(clock.time(), UTC) + timedelta(seconds=30)
        assert waited(clock, 1, f"{later:%a, %d %b %Y %H:%M:%S}{zone}") == [30]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_patience_ends(clock: FakeClock) -> None:
    calls, call = failing(100)
    with pytest.raises(OutOfRetriesError) as error:
        RetryPolicy(attempts=3).keep_trying(call, clock, lambda words: None)  # type: ignore[arg-type]
    assert (error.value.attempts, len(calls), clock.slept) == (3, 3, [1, 2])
    calls, call = failing(100, "901")
    with pytest.raises(OutOfRetriesError):
        RetryPolicy().keep_trying(call, clock, lambda words: None)  # type: ignore[arg-type]
    assert len(calls) == 1


def test_other_errors_pass(clock: FakeClock) -> None:
    def call() -> None:
        raise KeyError("a defect")

    with pytest.raises(KeyError):
        RetryPolicy().keep_trying(call, clock, lambda words: None)


def test_nobody_who_looks_at_a_page_waits_longer_than_ten_seconds(clock: FakeClock) -> None:
    assert IMPATIENT.silence is not None
    longest = IMPATIENT.attempts * IMPATIENT.silence + (IMPATIENT.attempts - 1) * IMPATIENT.first
    assert longest < 10
    for asked, waits in (("", [1.0]), ("2", [2.0]), ("4", [])):
        clock.slept.clear()
        _, call = failing(100, *[asked] * 100)
        with pytest.raises(OutOfRetriesError) as error:
            IMPATIENT.keep_trying(call, clock, lambda words: None)  # type: ignore[arg-type]
        assert clock.slept == waits
        assert error.value.asked == (float(asked) if asked else None)
