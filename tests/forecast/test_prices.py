"""Prices never keep a page waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

import pytest

from memshield.errors import UserError
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


def test_prices_stay_known_where_the_hub_fails_and_it_is_soon_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, asked = [1000.0], []
    monkeypatch.setattr("memshield.forecast.prices.time.monotonic", lambda: now[0])

    def ask() -> Mapping[str, float]:
        asked.append(1)
        if len(asked) == 2:
            raise UserError("--hardware", "the Hub cannot be asked")
        return {"t4-small": 0.4 * len(asked)}

    prices = HubPrices(ask, patience=5)
    assert prices.get() == {"t4-small": 0.4}
    now[0] += 3601
    assert prices.get() == {"t4-small": 0.4}
    now[0] += 30
    assert prices.get() == {"t4-small": 0.4} and len(asked) == 2
    now[0] += 31
    assert prices.get() == pytest.approx({"t4-small": 1.2})
