"""From a ceiling of cost to a time limit."""

from __future__ import annotations

import pytest

from memshield.errors import UserError
from memshield.jobs.ceiling import FREE_SECONDS, ceiling_of


def test_a_sum_pays_for_a_time_before_whose_end_the_training_saves() -> None:
    limit = ceiling_of("a10g-small", 1.0, 5.0)
    assert limit == (5 * 3600, 5.0)
    assert limit.saves_after == 5 * 3600 - 600
    assert "After 4.8 hours the training saves" in limit.in_words()
    assert "cost $5.00" in limit.in_words()
    assert ceiling_of("a10g-small", 1.0, 0.1).saves_after == 300  # a sixth of it to save


def test_free_hardware_has_a_time_limit_too_and_no_sum_pays_for_ever() -> None:
    assert ceiling_of("cpu-basic", 0.0, 0.01) == (FREE_SECONDS, 0.0)
    assert ceiling_of("cpu-upgrade", 0.03, 1e9).seconds == 7 * 86_400


def test_less_than_a_minute_is_refused_in_words() -> None:
    with pytest.raises(UserError, match=r"\$0.01 pays for less than a minute of a10g") as found:
        ceiling_of("a10g-small", 1.0, 0.01)
    assert found.value.field == "ceiling"
    assert "A minute costs $0.017" in found.value.remedy
