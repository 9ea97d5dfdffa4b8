"""What a training does against memorization, in words."""

from __future__ import annotations

from typing import Any

import pytest

from memshield.config.file import Config
from memshield.config.mitigation import IET_AGC, PLAIN, SHAPING, is_plain, measures_of

MITIGATED: list[dict[str, Any]] = [
    {"num_shards": 4, "num_rounds": 10},
    {"skip_threshold": 0.5},
    {"timestep_bias_share": 0.0, "timestep_bias_level": 1.24},
    {"stop_levels": True},
    {"augment_probability": 0.12},
]


def test_plain_settings_do_nothing() -> None:
    assert is_plain(PLAIN)
    assert is_plain({})
    assert measures_of(PLAIN) == []
    assert set(SHAPING) <= set(Config.model_fields)


@pytest.mark.parametrize("settings", MITIGATED)
def test_each_setting_is_one_measure_in_words(settings: dict[str, Any]) -> None:
    values = {**PLAIN, **settings}
    assert not is_plain(values)
    (measure,) = measures_of(values)
    assert measure.sentence.endswith(".")
    assert "_" not in measure.short + measure.sentence, "no code names"


def test_the_reference_of_the_mask_is_named() -> None:
    own, held_out = (
        measures_of({"skip_threshold": 0.5, "loss_bank_reference": reference})[0]
        for reference in ("own", "held_out")
    )
    assert "mean loss" in own.sentence
    assert "held-out loss" in held_out.sentence
    assert "held-out" in held_out.short
    assert (own.source, held_out.source) == (IET_AGC, None), "it is not the paper's"


def test_one_round_is_one() -> None:
    (measure,) = measures_of({"num_shards": 2, "num_rounds": 1})
    assert measure.short == "2 shards, 1 round"
    assert "averaged in 1 round (" in measure.sentence


def test_what_a_stranger_writes_is_shown_and_breaks_nothing() -> None:
    strange = dict.fromkeys((*PLAIN, "num_rounds", "timestep_bias_level"), "<b>4</b>")
    assert len(measures_of(strange)) == len(PLAIN)
