"""Prices never keep a page waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from memshield.forecast.prices import HubPrices


def test_a_hub_that_does_not_answer_is_not_waited_for() -> None:
    answers, asked = threading.Event(), []

    def ask() -> Mapping[str, float]:
        asked.append(1)
        answers.wait(30)
        return {"t4-small": 0.4}

    prices = HubPrices(ask, patience=0.05)
    begun = time.monotonic()
    assert prices.get() == {} and prices.get() == {}
    assert time.monotonic() - begun < 5
    assert len(asked) == 1, "it is asked once, not by every visitor"
    answers.set()
    deadline = time.monotonic() + 10
    while not prices.get():
        assert time.monotonic() < deadline
    assert prices.get() == {"t4-small": 0.4}


def test_an_answer_in_another_form_is_none() -> None:
    def ask() -> Mapping[str, float]:
        raise KeyError("month")

    assert HubPrices(ask, patience=5).get() == {}
