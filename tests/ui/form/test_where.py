"""Where a training runs, as the form says it."""

from __future__ import annotations

from typing import Any

import pytest

from memshield.forecast.cost import ModelSize
from memshield.ui.form.choices import Choices
from memshield.ui.form.planning import Plan, forecast
from memshield.ui.form.where import (
    Destination,
    cost_words,
    offers,
    planned_on,
    problems_there,
    read_destination,
    usual_of,
)

PRICES = {"a10g-small": 1.0, "t4-small": 0.4, "cpu-basic": 0.0, "of-tomorrow": 9.0}
OFFERED = offers(PRICES)
SDXL = Choices(recipe="sdxl_lora", model="lab/sdxl", dataset="ada/pictures")


def there(**values: Any) -> Destination:
    given = {"place": "jobs", "hardware": "a10g-small", "ceiling": 5, **values}
    found, errors = read_destination(given, OFFERED)
    assert not errors
    assert found is not None
    return found


def on(choices: Choices, destination: Destination) -> Plan:
    offer = destination.offer
    size = ModelSize("stable_diffusion_xl", 2_567_000_000, 1024) if choices.model else None
    made = forecast(choices, offer.machine, 100, price=offer.an_hour, size=size)
    return planned_on(made, offer)


def test_hardware_is_offered_with_memory_and_price() -> None:
    assert [one.label for one in OFFERED] == [
        "cpu-basic: 2 CPU cores, 16 GB, free",
        "t4-small: NVIDIA T4, 16 GB, $0.40 an hour",
        "a10g-small: NVIDIA A10G, 24 GB, $1.00 an hour",
    ]
    assert usual_of(OFFERED) == "a10g-small"
    assert usual_of(offers({"cpu-basic": 0.0, "t4-small": 0.4})) == "t4-small"
    assert usual_of(()) is None


def test_this_machine_asks_for_nothing() -> None:
    assert read_destination({"hardware": 3, "ceiling": "x"}, ()) == (None, [])
    assert read_destination({"place": "here", "ceiling": None}, OFFERED) == (None, [])


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"place": "moon"}, ["place"]),
        ({"hardware": "h1000"}, ["hardware"]),
        ({"ceiling": "much"}, ["ceiling"]),
        ({"ceiling": float("nan"), "hardware": None}, ["hardware", "ceiling"]),
        ({"ceiling": -1}, ["ceiling"]),
        ({"ceiling": "0.01"}, ["ceiling"]),
    ],
)
def test_wrong_values_are_said_beside_their_field(
    changes: dict[str, Any], fields: list[str]
) -> None:
    given = {"place": "jobs", "hardware": "a10g-small", "ceiling": 5, **changes}
    found, errors = read_destination(given, OFFERED)
    assert found is None
    assert [error.field for error in errors] == fields
    assert all(error.remedy for error in errors)


def test_time_cost_and_ceiling_in_words() -> None:
    destination = there(ceiling="$2")
    made = on(Choices(), destination)
    assert made.here is not None
    first, last = cost_words(made.here, destination)
    assert "on a10g-small (NVIDIA A10G, 24 GB)" in first
    assert "and $0.00 to $0.01 on" in first
    assert "saves a checkpoint and stops" in last
    assert "cost $2.00" in last
    # A ceiling that comes before the end is said to.
    long = on(Choices(epochs=1_000_000), destination)
    assert "does not get to the end" in " ".join(cost_words(long.here, destination))
    assert "not known yet" in cost_words(None, destination)[0]


def test_memory_that_is_not_there() -> None:
    small = there(hardware="t4-small")
    assert problems_there(on(Choices(), small), OFFERED) == []
    large = Choices(**{**vars(SDXL), "advanced": {"training": "full", "train_batch_size": 1}})
    full = there()
    (found,) = problems_there(on(large, full), OFFERED)
    assert found.field == "hardware"
    assert "no hardware of Jobs has the memory" in found.problem
    with_more = offers({**PRICES, "h200": 5.0})
    (found,) = problems_there(on(large, full), with_more)
    assert "a10g-small has 24 GB" in found.problem
    assert "Choose h200" in found.remedy
